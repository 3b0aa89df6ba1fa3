"""What comes of the workers' reports, and what is left afterwards."""

import copy
import dataclasses

import pytest

from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.shadowevaluation import ShadowEvaluationKind
from tests.unit.kinds.shadowevaluation.world import Shadow, answered
from tests.unit.kinds.world import SETTINGS


def test_all_shards_give_an_answer_with_its_uncertainty() -> None:
    w = answered()
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("True", "Evaluated")
    assert ready.message.startswith("rule-001: PROMOTE: F1 0.927 (")
    result = w.told["result"]
    assert result["verdict"] == "PROMOTE"
    assert result["matrix"]["truePositives"] == 190
    assert (w.told["samples"], w.told["shardsDone"]) == (1980, "2/2")
    assert result["precision"]["low"] < result["precision"]["value"] < result["precision"]["high"]
    assert (result["datasetDigest"], result["engine"]) == ("sha256:aa", "shieldx 1.0.0")
    assert w.condition("Evaluated").status == "True"
    assert (w.condition("VerdictKnown").status, w.condition("VerdictKnown").reason) == ("True", "Promote")
    assert w.status().requeue_after_s is None


def test_the_order_and_number_of_reports_leave_no_trace_in_the_answer() -> None:
    once, often = answered(), Shadow()
    often.step()
    for index in (1, 0, 1, 1, 0):
        often.report(index)
    often.status()
    assert often.told["result"] == once.told["result"]


def test_no_answer_is_given_while_a_shard_is_missing() -> None:
    w = Shadow()
    w.step()
    w.report(1)
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "Evaluating")
    assert ready.message.startswith("1 of 2 shards are judged")
    assert (w.told["shardsDone"], w.told["samples"]) == ("1/2", 990)
    assert "result" not in w.told
    assert w.condition("Reconciling").status == "True"


def test_an_uncertain_answer_is_an_answer() -> None:
    w = answered({"gates": {"minPrecision": 0.98}})
    assert w.condition("Ready").status == "True"
    assert w.told["result"]["verdict"] == "INCONCLUSIVE"
    known = w.condition("VerdictKnown")
    assert (known.status, known.reason) == ("False", "Inconclusive")
    assert "minPrecision 0.98 is undecided" in known.message


def test_entries_of_another_question_count_for_nothing() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1, question="9999999999")
    assert w.condition("Ready").reason == "Evaluating"
    assert w.told["shardsDone"] == "1/2"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"datasetDigest": "sha256:bb"}, "do not agree on datasetDigest (shard 0 sha256:aa, shard 1 sha256:bb)"),
        ({"engine": "shieldx 2.0.0"}, "do not agree on engine"),
        (
            {"counts": {"matrix": {"tp": -1, "fp": 0, "tn": 0, "fn": 0}}},
            "status.shards, index 1: counts: matrix.tp is -1",
        ),
        ({"counts": {}}, "status.shards, index 1: counts: "),
    ],
    ids=["other data", "other engine", "less than nothing", "no counts"],
)
def test_shards_that_do_not_add_up_are_never_added_up(entry: Obj, says: str) -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1, **entry)
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ShardsDisagree")
    assert says in stalled.message
    assert "spec.rerun" in stalled.message
    assert "result" not in w.told


def test_at_the_end_all_goes_but_the_job_with_its_log() -> None:
    w = answered()
    w.step()
    assert w.kinds() == {"Job"}


def test_pods_that_still_run_keep_what_they_run_under() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1)
    w.status()
    w.step()
    assert "NetworkPolicy" in w.kinds()
    assert "Role" in w.kinds()


def test_an_answer_needs_no_job_and_none_is_made_again() -> None:
    w = answered()
    w.objects = {r: o for r, o in w.objects.items() if r.name == "samples"}
    assert w.plan().apply == ()
    assert w.condition("Ready").status == "True"


def test_an_answer_stays_when_shards_are_wiped_and_when_the_operator_is_another() -> None:
    w = answered()
    before = copy.deepcopy(w.told["result"])
    del w.told["shards"]
    newer = dataclasses.replace(SETTINGS, runtime_image="registry.test/platform:2.0.0")
    w.kind = ShadowEvaluationKind(newer)
    w.status()
    assert w.told["result"] == before
    assert w.told["version"] == "1.0.0"
    assert w.plan().apply == ()


@pytest.mark.parametrize("image", ["registry.test/platform:2.0.0", "mirror.test/platform:1.0.0"])
def test_another_operator_leaves_a_running_job_alone(image: str) -> None:
    w = Shadow()
    w.step()
    w.status()
    before = copy.deepcopy(w.job)
    w.kind = ShadowEvaluationKind(dataclasses.replace(SETTINGS, runtime_image=image))
    w.step()
    assert w.job is not None
    assert before is not None
    assert w.job["spec"]["template"] == before["spec"]["template"]
    assert w.job["metadata"]["name"] == before["metadata"]["name"]


def test_an_answered_question_costs_one_read() -> None:
    w = answered()
    reads = w.kind.reads(w.parent)
    assert [r.resource.kind for r in reads.objects] == ["Job"]
    assert reads.queries == {}
