"""Why a pod does not run, and what to do about it."""

import pytest

from shieldx_operator.blocks.diagnosis import creation_finding, pods_finding
from shieldx_operator.engine.types import Obj


def pod(said: str) -> Obj:
    condition = {"type": "PodScheduled", "status": "False", "message": f"0/1 nodes are available: {said}"}
    return {
        "metadata": {"name": "pay-db-0", "namespace": "team"},
        "spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "pay-db"}}, {"name": "tmp"}]},
        "status": {"conditions": [condition]},
    }


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("1 Insufficient cpu", "lower the requests in spec.resources"),
        ("1 node(s) didn't match Pod's node affinity/selector", "correct spec.scheduling"),
        ("1 node(s) had untolerated taint {gpu: true}", "correct spec.scheduling"),
        ("pod has unbound immediate PersistentVolumeClaims", "`kubectl -n team describe pvc pay-db`"),
        ("something new", "add capacity"),
    ],
)
def test_a_pod_that_fits_on_no_node_is_told_with_the_remedy_for_its_reason(said: str, remedy: str) -> None:
    found = pods_finding([pod(said)])
    assert found is not None
    assert (found.reason, found.needs_person) == ("Unschedulable", True)
    assert said in found.message
    assert remedy in found.message
    assert ("spec.resources" in found.message) is (remedy in ("lower the requests in spec.resources", "add capacity"))


def test_a_priority_class_that_is_not_there_is_told_by_its_field() -> None:
    said = 'pods "pay-db-0" is forbidden: no PriorityClass with name gold was found'
    found = creation_finding(None, [{"type": "Warning", "reason": "FailedCreate", "message": said}])
    assert found is not None
    assert "spec.scheduling.priorityClassName" in found.message
