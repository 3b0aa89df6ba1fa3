"""What the Python client makes of answers that are not the service's, and of keys that are none. No I/O."""

from typing import Any

import pytest

from shieldx_client import calls, core
from shieldx_client.core import Answer, ApiError, InsufficientCreditsError

REQUEST = calls.consume("org-1", 5, None, None, None)


def test_a_key_that_is_left_out_is_made_and_an_empty_one_is_sent_as_it_is() -> None:
    made = [calls.consume("org-1", 5, None, None, None).key for _ in range(2)]
    assert made[0] != made[1]
    assert calls.consume("org-1", 5, None, None, "").body == {"tenant_id": "org-1", "amount": 5, "idempotency_key": ""}


@pytest.mark.parametrize("document", [{}, {"ok": True}, {"transaction_id": "x"}])
def test_a_success_that_is_not_the_services_is_no_movement_and_leaves_it_open(document: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="check the URL") as caught:
        core.movement(REQUEST, Answer(200, {}, document))
    assert caught.value.unsure
    assert caught.value.idempotency_key == REQUEST.key


def test_a_402_that_is_not_the_services_says_nothing_of_credits() -> None:
    with pytest.raises(ApiError) as caught:
        core.movement(REQUEST, Answer(402, {}, {}))
    assert not isinstance(caught.value, InsufficientCreditsError)
    with pytest.raises(InsufficientCreditsError):
        core.movement(REQUEST, Answer(402, {}, {"available": 1, "required": 5}))


def test_a_balance_that_lacks_a_member_is_not_read() -> None:
    with pytest.raises(ApiError):
        core.balance(calls.balance("org-1"), Answer(200, {}, {"tenant_id": "org-1", "balance": 1}))


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2.0), ("", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("²", 0.0)]
)
def test_a_retry_after_that_is_no_number_of_seconds_is_none(text: str, seconds: float) -> None:
    assert Answer(503, {"retry-after": text}, {}).retry_after_s == seconds
