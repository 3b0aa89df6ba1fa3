"""What fails is told with its remedy, and is not tried for ever."""

from typing import Any

import pytest

from shieldx_operator.blocks.resources import CONFIG_MAP, EVENT
from shieldx_operator.engine.types import Failure, Obj, Ref, Results
from tests.unit.kinds.shadowevaluation.world import Shadow


def pod(name: str, *, phase: str = "Failed", **status: Any) -> Obj:
    return {
        "metadata": {"name": name, "labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase, **status},
    }


def ended(exit_code: int, message: str, reason: str = "Error") -> Obj:
    state = {"terminated": {"exitCode": exit_code, "message": message, "reason": reason}}
    return {"containerStatuses": [{"name": "worker", "state": state}]}


def fail(w: Shadow, *pods: Obj, reason: str = "FailedIndexes", message: str = "Job has failed indexes") -> None:
    w.step()
    w.lists["pods"] = list(pods)
    w.end_job("Failed", reason, message)


def test_a_failed_job_is_told_in_the_last_words_of_a_worker_and_not_tried_again() -> None:
    w = Shadow()
    fail(w, pod("sqli-0-abcde", **ended(42, "rule.pattern, character 3: RE2 knows no lookahead")))
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "EvaluationFailed")
    assert "RE2 knows no lookahead" in stalled.message
    assert "spec.rerun" in stalled.message
    assert w.status().requeue_after_s is None
    w.step()
    assert w.kinds() == {"Job"}
    w.objects = {r: o for r, o in w.objects.items() if r.name == "samples"}  # its time to live has passed
    w.lists["pods"] = []
    assert w.plan().apply == ()
    assert "RE2 knows no lookahead" in w.condition("Stalled").message


@pytest.mark.parametrize("change", [{"rerun": "again"}, {"resources": {"limits": {"memory": "4Gi"}}}])
def test_a_failed_evaluation_is_tried_again_when_it_is_changed(change: Obj) -> None:
    w = Shadow()
    fail(w, pod("sqli-0-abcde", **ended(137, "", "OOMKilled")))
    assert w.condition("Stalled").reason == "OutOfMemory"
    assert "spec.resources.limits.memory" in w.condition("Stalled").message
    w.parent["spec"] |= change
    w.step()
    assert w.job is not None
    assert w.job["metadata"]["name"] == f"sqli-{w.view.run}"
    w.lists["pods"] = []
    w.status()
    assert "failure" not in w.told


def test_a_deadline_names_the_fields_that_help() -> None:
    w = Shadow({"deadlineSeconds": 30})
    fail(w, reason="DeadlineExceeded", message="Job was active longer than specified deadline")
    stalled = w.condition("Stalled")
    assert stalled.reason == "DeadlineExceeded"
    assert "not done within 30 s (0 of 2 shards are judged)" in stalled.message
    assert "spec.deadlineSeconds" in stalled.message


def test_a_job_that_failed_after_all_shards_had_come_is_an_answer() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1)
    w.end_job("Failed", "DeadlineExceeded", "late")
    assert w.condition("Ready").status == "True"


def test_a_pod_that_failed_while_its_job_tries_again_needs_no_person() -> None:
    w = Shadow()
    w.step()
    assert w.job is not None
    w.job["status"] = {"active": 1}
    w.lists["pods"] = [pod("sqli-0-abcde", **ended(1, "killed")), pod("sqli-0-fghij", phase="Running")]
    assert w.condition("Stalled").status == "False"
    assert w.condition("Ready").reason == "Evaluating"


def test_a_pod_that_cannot_start_is_told() -> None:
    w = Shadow()
    w.step()
    waiting = {"waiting": {"reason": "ErrImageNeverPull", "message": "no such image"}}
    status = {"containerStatuses": [{"name": "worker", "image": "x", "state": waiting}]}
    w.lists["pods"] = [pod("sqli-0-abcde", phase="Pending", **status)]
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ImagePullFailed")
    assert w.status().requeue_after_s == 5


def test_pods_that_nobody_lets_in_are_told() -> None:
    w = Shadow()
    w.step()
    about = {"kind": "Job", "name": f"sqli-{w.view.run}"}
    w.lists["Job warnings"] = [
        {"kind": EVENT.kind, "type": "Warning", "reason": "FailedCreate", "involvedObject": about, "message": "quota"}
    ]
    assert w.condition("Stalled").reason == "PodsRefused"


def test_a_shard_whose_entry_was_lost_is_judged_again() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.end_job("Complete")
    w.pass_time(10)
    assert w.condition("Ready").reason == "Evaluating", "its entry may be on its way"
    w.pass_time(25)
    assert w.condition("Ready").reason == "ShardLost"
    w.step()
    assert w.job is None
    w.step()
    assert w.job is not None


@pytest.mark.parametrize(
    ("data", "says"),
    [(None, "ConfigMap team/samples does not exist"), ({"other": "{}"}, "has no key 'samples.ndjson'")],
)
def test_missing_samples_are_told_before_anything_is_made(data: dict[str, str] | None, says: str) -> None:
    w = Shadow()
    del w.objects[Ref(CONFIG_MAP, "team", "samples")]
    if data is not None:
        w.samples(data)
    w.step()
    assert w.kinds() == set()
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "DataNotFound")
    assert says in stalled.message
    assert w.status().requeue_after_s == 5
    w.samples({"samples.ndjson": "{}"})
    w.step()
    assert w.job is not None


def test_what_the_api_server_refuses_is_told() -> None:
    w = Shadow()
    w.step()
    refused = Results([Failure("Job team/x", "Forbidden", "no", retryable=False)])
    assert w.condition("Stalled", refused).reason == "Forbidden"
