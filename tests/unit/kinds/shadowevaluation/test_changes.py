"""Which change asks anew, and which does not."""

import copy

import pytest

from shieldx_operator.engine.types import Obj
from tests.unit.kinds.shadowevaluation.world import RULE, Shadow, answered


@pytest.mark.parametrize(
    "change",
    [
        {"rule": {**RULE, "pattern": "union select"}},
        {"baseline": RULE},
        {"seed": 7},
        {"sampleSize": 10},
        {"shards": 3},
        {"rerun": "2026-02-01"},
        {"version": "2.0.0"},
        {"data": {"configMap": {"name": "samples", "key": "other"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_asked_anew(change: Obj) -> None:
    w = answered()
    w.samples({"samples.ndjson": "{}", "other": "{}"})
    before = w.view.run
    w.parent["spec"] |= change
    w.step()
    assert w.job is not None
    assert w.job["metadata"]["name"] == f"sqli-{w.view.run}" != f"sqli-{before}"
    w.status()
    assert "result" not in w.told, "an old answer must not stand beside a new question"
    assert w.condition("Ready").status == "False"


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 7},
        {"batchSize": 1},
        {"resources": {"limits": {"memory": "4Gi"}}},
        {"deadlineSeconds": 60},
        {"suspend": True},
        {"ttlSecondsAfterFinished": 60},
        {"rule": {**RULE, "name": "another name"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_numbers_do_not_depend_on_asks_nothing_anew(change: Obj) -> None:
    w = answered()
    before = copy.deepcopy(w.told["result"])
    w.parent["spec"] |= change
    assert w.plan().apply == ()
    w.status()
    assert w.told["result"] == before


def test_another_gate_is_judged_from_the_same_counts() -> None:
    w = answered()
    w.parent["spec"]["gates"] = {"minPrecision": 0.999}
    assert w.plan().apply == ()
    w.status()
    assert w.told["result"]["verdict"] == "REJECT"
    w.parent["spec"]["gates"] = {"minPrecision": 0.8}
    w.status()
    assert w.told["result"] == answered().told["result"]


def test_more_memory_makes_a_new_job_of_the_same_question() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    question, run = w.view.question, w.view.run
    w.parent["spec"]["resources"] = {"limits": {"memory": "4Gi"}}
    w.step()
    assert w.view.question == question
    assert w.view.run != run
    assert w.job is not None
    assert w.job["metadata"]["name"] == f"sqli-{w.view.run}"
    w.status()
    assert w.told["shardsDone"] == "1/2", "what has been judged stays judged"


def test_suspending_holds_the_job_and_keeps_its_shards() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.parent["spec"]["suspend"] = True
    w.step()
    assert w.job is not None
    assert w.job["spec"]["suspend"] is True
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("Unknown", "Suspended")
    assert w.told["shardsDone"] == "1/2"
    assert "failure" not in w.told
    w.parent["spec"]["suspend"] = False
    w.step()
    assert w.job["spec"]["suspend"] is False


def test_a_question_that_is_suspended_from_the_start_makes_nothing() -> None:
    w = Shadow({"suspend": True})
    w.step()
    assert w.kinds() == set()
