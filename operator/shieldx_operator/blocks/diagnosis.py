"""Why does a component not run? Pure answers out of pods, workloads and events, for a person at 3 a.m.

Each answer is a reason, a message that names the object and what to do, and whether it needs a person: a wrong image
name does, a pod that is starting doesn't.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shieldx_operator.engine.types import Obj

_MAX_MESSAGE: Final = 600
_CLAIM: Final = "persistentVolumeClaim"
_IMAGE_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one component."""

    reason: str
    message: str
    needs_person: bool


def _short(text: str) -> str:
    """The last lines are where a failing program says why."""
    text = text.strip()
    return text if len(text) <= _MAX_MESSAGE else "..." + text[-_MAX_MESSAGE:]


def _container_finding(pod: str, status: Obj) -> Finding | None:
    name = status["name"]
    waiting = status.get("state", {}).get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in _IMAGE_REASONS:
        image = status.get("image", "")
        return Finding(
            "ImagePullFailed",
            f"Pod {pod}: image {image!r} cannot be pulled ({_short(waiting.get('message', reason))}); "
            "check spec.version and spec.image, and that the cluster may pull from that registry",
            needs_person=True,
        )
    if reason in _CONFIG_REASONS:
        return Finding(
            "ContainerCannotStart",
            f"Pod {pod}, container {name}: {_short(waiting.get('message', reason))}",
            needs_person=True,
        )
    terminated = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
    if terminated and terminated.get("exitCode") != 0 and not status.get("ready"):
        why = terminated.get("message") or terminated.get("reason", "")
        return Finding(
            "OutOfMemory" if terminated.get("reason") == "OOMKilled" else "ContainerFailed",
            f"Pod {pod}, container {name} ended with exit code {terminated['exitCode']}: {_short(why)}",
            needs_person=True,
        )
    return None


def _pod_findings(pod: Obj) -> Iterator[Finding]:
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        finding = _container_finding(name, container)
        if finding is not None:
            yield finding
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield Finding(
                "Unschedulable",
                f"Pod {name} fits on no node: {_short(condition.get('message', ''))}; "
                f"{_remedy(pod, condition.get('message', ''))}",
                needs_person=True,
            )


def _remedy(pod: Obj, said: str) -> str:
    """What to do about a pod that fits on no node, by the scheduler's own words for it."""
    remedies = []
    if "PersistentVolumeClaim" in said:
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes", ()) if _CLAIM in v]
        named = ", ".join(f"`kubectl -n {pod['metadata'].get('namespace', '')} describe pvc {c}`" for c in claims)
        remedies.append(f"see {named}: its storage class may not exist, or have no volume left")
    if "affinity/selector" in said or "taint" in said:
        remedies.append("correct spec.scheduling, or label or add a node")
    if "Insufficient" in said or not remedies:
        remedies.append("lower the requests in spec.resources or add capacity")
    return "; ".join(remedies)


def pods_finding(pods: Iterable[Obj]) -> Finding | None:
    """The first pod that says why it does not run; pods that are being deleted say nothing of interest."""
    living = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    for pod in sorted(living, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True):
        for finding in _pod_findings(pod):
            return finding
    return None


def creation_finding(workload: Obj | None, events: Sequence[Obj]) -> Finding | None:
    """Why no pod could even be created: the workload's own condition, or the newest warning about it."""
    for condition in (workload or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _refused(condition.get("message", ""))
    refused = [e for e in events if e.get("type") == "Warning" and e.get("reason") == "FailedCreate"]
    if not refused:
        return None
    newest = max(refused, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return _refused(newest.get("message", ""))


def _refused(said: str) -> Finding:
    remedy = "raise the quota or change the policy of the namespace that refuses its pods, or ask for less in the spec"
    if "PriorityClass" in said:
        remedy = "correct spec.scheduling.priorityClassName, or create that PriorityClass"
    return Finding("PodsRefused", f"{_short(said)}; {remedy}", needs_person=True)


def workload_finding(workload: Obj | None, pods: Iterable[Obj], events: Sequence[Obj]) -> Finding | None:
    """The most telling reason that a workload is not ready, or None while there is nothing but patience to have."""
    return pods_finding(pods) or creation_finding(workload, events)


def stateful_set_ready(workload: Obj | None) -> bool:
    if workload is None:
        return False
    status = workload.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
        and status.get("readyReplicas", 0) >= workload["spec"].get("replicas", 1)
        and status.get("updatedReplicas", 0) >= workload["spec"].get("replicas", 1)
    )


def deployment_rolled_out(workload: Obj | None, *, min_available: int) -> bool:
    """All pods are of the newest template, and at least `min_available` of them serve."""
    if workload is None:
        return False
    status = workload.get("status", {})
    total = status.get("replicas", 0)
    return bool(
        status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == total
        and status.get("availableReplicas", 0) >= min(min_available, total)
        and total >= min_available
    )


def progress_deadline_exceeded(workload: Obj | None) -> bool:
    return any(
        c["type"] == "Progressing" and c["status"] == "False" and c.get("reason") == "ProgressDeadlineExceeded"
        for c in (workload or {}).get("status", {}).get("conditions", ())
    )


def job_condition(job: Obj | None) -> str:
    """`Complete`, `Failed`, `Running` or `Missing`."""
    if job is None:
        return "Missing"
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return str(condition["type"])
    return "Running"
