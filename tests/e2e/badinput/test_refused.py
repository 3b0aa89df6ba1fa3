"""Wrong objects are refused at the door, with a message that names the field and what is wrong with it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from shieldx_operator.engine.types import Obj
from tests.e2e.badinput.conftest import ApiServer, merged

HERE = Path(__file__).parent
GOOD = yaml.safe_load((HERE / "good.yaml").read_text(encoding="utf-8"))
REFUSED = yaml.safe_load((HERE / "refused.yaml").read_text(encoding="utf-8"))
CREATED = [case for case in REFUSED if not case.get("update")]
UPDATED = [case for case in REFUSED if case.get("update")]


def by_name(cases: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case["name"].replace(" ", "-") for case in cases])


def assert_refused(response: requests.Response, case: dict[str, Any]) -> None:
    body = response.json()
    assert not response.ok, f"the API server took it: {body}"
    message = body["message"]
    assert response.status_code in {400, 422}, message
    assert case["field"] in message
    assert case["says"] in message


@by_name(CREATED)
def test_a_wrong_object_is_refused_with_its_field_and_its_problem(api: ApiServer, case: dict[str, Any]) -> None:
    assert_refused(api.create(merged(GOOD[case["kind"]], case["change"])), case)


@pytest.fixture
def existing(api: ApiServer, case: dict[str, Any]) -> Iterator[Obj]:
    obj = merged(GOOD[case["kind"]], case.get("before", {}))
    made = api.create(obj, dry_run=False)
    assert made.ok, made.text
    yield obj
    gone = api.delete(obj)
    assert gone.ok, gone.text
    wait_until_gone(api, obj)


def wait_until_gone(api: ApiServer, obj: Obj) -> None:
    """An operator that runs may hold the object for a moment, by its finalizer."""
    deadline = time.monotonic() + 30
    while api.call("GET", api.url(obj, named=True)).status_code != requests.codes.not_found:
        assert time.monotonic() < deadline, f"{obj['kind']} {obj['metadata']['name']} is still there after 30 s"
        time.sleep(0.1)


@by_name(UPDATED)
def test_a_wrong_change_is_refused_with_its_field_and_its_problem(
    api: ApiServer, existing: Obj, case: dict[str, Any]
) -> None:
    assert_refused(api.patch(existing, case["change"]), case)


def test_the_table_holds_at_least_thirty_wrong_objects_of_which_none_is_there_twice() -> None:
    objects = [yaml.safe_dump([case["kind"], case.get("before"), case["change"]]) for case in REFUSED]
    assert len(set(objects)) == len(objects) >= 30
