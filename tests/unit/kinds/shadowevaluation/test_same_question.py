"""Somebody else has asked the same: their counts are taken, or not."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from shieldx_operator.engine.types import Obj
from tests.unit.kinds.shadowevaluation.world import Shadow
from tests.unit.kinds.world import START


def other(w: Shadow, *, age: timedelta = timedelta(minutes=5), name: str = "before", **status: Any) -> Obj:
    """An evaluation that asked the same, and how long ago its last shard came."""
    twin = Shadow(w.parent["spec"])
    twin.now = w.now - age
    twin.report(0)
    twin.report(1)
    twin.status()
    twin.parent["metadata"] = {**twin.parent["metadata"], "name": name}
    twin.told.update(status)
    return twin.parent


def test_the_same_question_within_a_quarter_of_an_hour_needs_no_job() -> None:
    w = Shadow()
    w.lists["same question"] = [other(w)]
    w.step()
    assert w.kinds() == set()
    w.status()
    result = w.told["result"]
    assert result["cachedFrom"] == "before"
    assert datetime.fromisoformat(result["evaluatedAt"]) == START - timedelta(minutes=5)
    assert w.told["samples"] == 1980
    assert "counted by before" in w.condition("Evaluated").message
    w.lists["same question"] = []
    w.pass_time(3600)
    assert w.plan().apply == ()
    w.status()
    assert w.told["result"] == result


def test_counts_of_another_are_judged_by_ones_own_gates() -> None:
    w = Shadow()
    w.lists["same question"] = [other(w)]
    w.parent["spec"]["gates"] = {"minPrecision": 0.999}
    w.status()
    assert w.told["result"]["verdict"] == "REJECT"


@pytest.mark.parametrize(
    "twin",
    [
        {"age": timedelta(minutes=16)},
        {"dataDigest": "0000000000000000"},
        {"shards": []},
        {"name": "sqli"},
    ],
    ids=["too old", "other samples", "itself cached", "itself"],
)
def test_what_is_old_or_about_other_samples_is_no_cache(twin: Any) -> None:
    w = Shadow()
    w.lists["same question"] = [other(w, **twin)]
    w.step()
    assert w.job is not None
    w.status()
    assert "result" not in w.told


def test_a_rerun_is_never_answered_from_what_was_counted_before() -> None:
    w = Shadow()
    before = other(w)
    w.parent["spec"]["rerun"] = "today"
    w.lists["same question"] = [before]
    w.step()
    assert w.job is not None


def test_a_config_map_that_changes_later_is_not_what_was_judged() -> None:
    w = Shadow()
    w.step()
    w.status()
    digest = w.told["dataDigest"]
    w.samples({"samples.ndjson": "{} changed"})
    w.report(0)
    w.report(1)
    w.status()
    assert w.told["dataDigest"] == digest
