"""What a log says of a library's own words."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shieldx_operator.engine import logs

API = "kopf._cogs.clients.watching"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("logger", "message", "level"),
    [
        (API, "Request attempt #1/6 failed; will retry: GET /apis -> 429", "warning"),
        (API, "Request attempt #6/6 failed; escalating: GET /apis -> 429", "error"),
        ("shieldx_operator", "it will retry", "error"),
    ],
)
def test_an_attempt_that_kopf_makes_again_is_a_warning_and_the_last_one_an_error(
    capsys: pytest.CaptureFixture[str], logger: str, message: str, level: str
) -> None:
    logs.configure("info")
    logging.getLogger(logger).error(message)
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["message"]) == (level, message)
