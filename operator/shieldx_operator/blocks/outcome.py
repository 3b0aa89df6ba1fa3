"""What came of a Job whose program says it in its termination message: one JSON document of at most 4 KiB."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shieldx_operator.blocks.diagnosis import job_condition, pods_finding
from shieldx_operator.blocks.job import failure_message
from shieldx_operator.engine.types import Obj

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
DEADLINE: Final = "DeadlineExceeded"
"""Kubernetes' reason for a Job that took too long."""
_MAX_MESSAGE_CHARS: Final = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a Job. `result` is the program's document where it succeeded; else `reason` and `message` say why not.

    `said` is whether the program itself ended with a document: one that was killed has said nothing.
    """

    succeeded: bool
    result: Obj = field(default_factory=dict)
    reason: str = ""
    message: str = ""
    ended_at: str | None = None
    said: bool = True


def of_job(job: Obj | None, pods: Iterable[Obj], container: str) -> Outcome | None:
    """The outcome of a Job that has ended, from the newest of its pods that says something; None while it has not."""
    state = job_condition(job)
    if job is None or state not in ("Complete", "Failed"):
        return None
    name = job["metadata"]["name"]
    mine = pods_of(name, pods)
    document, ended_at = _last_document(mine, container)
    if state == "Complete":
        if document is None or "failed" in document:
            message = f"Job {name} is complete, but its pod is gone and with it what it said; see the next run"
            return Outcome(succeeded=False, reason="ResultLost", message=message, said=False)
        return Outcome(succeeded=True, result=document, ended_at=ended_at)
    if document is not None and "failed" in document:
        message = str(document.get("message", ""))[:_MAX_MESSAGE_CHARS]
        return Outcome(succeeded=False, reason=str(document["failed"]), message=message, ended_at=ended_at)
    return _killed(job, mine, ended_at)


def _killed(job: Obj, pods: Sequence[Obj], ended_at: str | None) -> Outcome:
    """The outcome of a program that could not say why."""
    name, said = job["metadata"]["name"], failure_message(job)
    finding = pods_finding(pods)
    evicted = _evicted(pods)
    reason, message = "JobFailed", f"Job {name}: {said}"
    if said.startswith(DEADLINE):
        reason, message = DEADLINE, f"Job {name} was not done in time and was ended"
    elif evicted is not None:
        reason, message = evicted
    elif finding is not None:
        reason = "JobFailed" if finding.reason == "ContainerFailed" else finding.reason
        message = finding.message
    return Outcome(succeeded=False, reason=reason, message=message, ended_at=ended_at, said=False)


def _evicted(pods: Iterable[Obj]) -> tuple[str, str] | None:
    """Reason and message of a pod that its node threw out: the kubelet says for what."""
    for pod in pods:
        status = pod.get("status", {})
        if status.get("reason") == "Evicted":
            said = str(status.get("message", "")).strip()[:_MAX_MESSAGE_CHARS]
            full = any(word in said for word in ("EmptyDir", "ephemeral"))
            remedy = "raise scratchSize, or give the node a larger disk" if full else "see what the node is short of"
            return ("NoSpace" if full else "Evicted"), f"Pod {pod['metadata']['name']} was evicted: {said} {remedy}"
    return None


def pods_of(job: str, pods: Iterable[Obj]) -> list[Obj]:
    return [p for p in pods if (p["metadata"].get("labels") or {}).get(JOB_NAME_LABEL) == job]


def last_words(pods: Sequence[Obj], container: str) -> str:
    """What a try said that failed, while another is under way; empty where none did."""
    document, _ = _last_document(pods, container)
    return str(document.get("message", ""))[:_MAX_MESSAGE_CHARS] if document and "failed" in document else ""


def _last_document(pods: Sequence[Obj], container: str) -> tuple[Obj | None, str | None]:
    """The newest document, and when its program ended."""
    ended = [
        (str(end.get("finishedAt", "")), end)
        for pod in pods
        for status in pod.get("status", {}).get("containerStatuses", ())
        if status["name"] == container and (end := status.get("state", {}).get("terminated"))
    ]
    for finished_at, end in sorted(ended, key=lambda e: e[0], reverse=True):
        document = _document(end.get("message"))
        if document is not None:
            return document, finished_at or None
    return None, max((e[0] for e in ended), default="") or None


def _document(text: Any) -> Obj | None:
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
