"""What is told of a Backup: how far it is, what the copy is, and if there is none, why not."""

from typing import Any, Final, TypeAlias

from shieldx_operator.blocks import outcome, stores
from shieldx_operator.blocks.backup import CONTAINER, location
from shieldx_operator.blocks.diagnosis import workload_finding
from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Condition, Obj, Observation, Ref, Results, Status
from shieldx_operator.kinds.backup.plan import waits_for
from shieldx_operator.kinds.backup.view import View, resolved

POLL_S: Final = 5.0
_KIB: Final = 1024


def status(v: View, seen: Observation, results: Results) -> Status:
    """The whole status but for what the engine adds. What has ended is told once and stays."""
    if v.ended:
        return _ended(v.told)
    fields = _known(v, seen)
    job = seen.objects.get(v.job)
    end = outcome.of_job(job, seen.lists.get("pods", ()), CONTAINER)
    if end is not None and v.effective is not None:
        fields |= {
            "phase": "Succeeded" if end.succeeded else "Failed",
            "startedAt": (job or {}).get("status", {}).get("startTime"),
            "completedAt": end.ended_at or (job or {}).get("status", {}).get("completionTime") or _text(seen),
            "tries": len(outcome.pods_of(v.job.name, seen.lists.get("pods", ()))),
        }
        fields |= _copy(v, end.result) if end.succeeded else _failure(end.reason, end.message)
        return _ended({name: value for name, value in fields.items() if value is not None})
    reason, message, person = _why_not_yet(v, seen, results)
    fields["phase"] = "Pending" if job is None else "Running"
    if job is not None:
        fields["startedAt"] = job.get("status", {}).get("startTime")
    return Status(
        [
            *summary("False", reason, message, needs_person=person),
            Condition("Verified", "Unknown", reason, "there is no copy yet"),
        ],
        fields,
        requeue_after_s=POLL_S if job is not None or "effective" in v.told else 1.0,
    )


def _known(v: View, seen: Observation) -> Obj:
    """What the copy is made by, as soon as it is known: it stands in the status from then on."""
    chosen = resolved(v, seen)
    fields: Obj = {"stream": v.spec.stream or "database"}
    if chosen is None:
        return fields
    fields |= {"effective": chosen.to_json(), "stream": chosen.stream}
    place = Ref(stores.CREDITS_RESOURCE, v.service.namespace, chosen.service_name)
    ways = v.stores or stores.found(seen.objects.get(place))
    if ways is not None:
        fields["stores"] = ways.to_json()
    return fields


Reason: TypeAlias = tuple[str, str, bool]
"""Reason, message, and whether a person is needed."""


def _refused(v: View, seen: Observation, results: Results) -> Reason | None:  # noqa: ARG001 - one of `_WHY_NOT`
    failure = next(iter(results.failures), None)
    if failure is None:
        return None
    return failure.reason, f"{failure.where}: {failure.message}", not failure.retryable


def _unresolved(v: View, seen: Observation, results: Results) -> Reason | None:  # noqa: ARG001
    if v.effective is None and resolved(v, seen) is None:
        return "PolicyNotFound", f"spec.policyRef: {v.policy} does not exist; create it, or make another Backup", True
    if v.work is not None:
        return None
    place = Ref(stores.CREDITS_RESOURCE, v.service.namespace, v.credits_name or "")
    if v.credits_name and place not in seen.objects:
        return "ServiceNotFound", f"{place} does not exist; create it, or make another Backup", True
    return "Resolving", "finding out where the service's stores are", False


def _waiting(v: View, seen: Observation, results: Results) -> Reason | None:  # noqa: ARG001
    if v.job in seen.objects or v.work is None:
        return None
    waits = waits_for(v, v.work, seen)
    if waits is None:
        return "Starting", "the Job is about to be made", False
    return (*waits, waits[0] != "RestoreRuns")


def _stuck(v: View, seen: Observation, results: Results) -> Reason | None:  # noqa: ARG001
    pods = outcome.pods_of(v.job.name, seen.lists.get("pods", ()))
    pending = [p for p in pods if p.get("status", {}).get("phase") == "Pending"]
    warnings = [e for e in seen.lists.get("Job warnings", ()) if e["involvedObject"].get("name") == v.job.name]
    finding = workload_finding(None, pending, () if pods else warnings)
    if finding is not None:
        return finding.reason, finding.message, finding.needs_person
    words = outcome.last_words(pods, CONTAINER)
    return ("Retrying", f"try {len(pods)}: the one before failed: {words}", False) if words else None


_WHY_NOT: Final = (_refused, _unresolved, _waiting, _stuck)
"""What can be in the way of a copy, in the order in which it is told."""


def _why_not_yet(v: View, seen: Observation, results: Results) -> Reason:
    found = next((reason for why in _WHY_NOT if (reason := why(v, seen, results)) is not None), None)
    return found or ("Running", f"Job {v.job.name} makes the copy", False)


def _copy(v: View, result: Obj) -> Obj:
    """The program's document as fields. What it does not say is left out."""
    stream = v.effective.stream if v.effective else "database"
    proof = result.get("verified") or {}
    rows = result.get("rows")
    size = result.get("size_bytes")
    identity = result.get("id")
    return {
        "backupID": identity,
        "location": location(v.effective, v.service.namespace, stream, identity) if v.effective and identity else None,
        "takenAt": result.get("taken_at"),
        "verifiedAt": proof.get("verified_at"),
        "durationSeconds": result.get("dump_s"),
        "verificationSeconds": proof.get("duration_s"),
        "size": size_text(size) if size is not None else None,
        "sizeBytes": size,
        "plainSizeBytes": result.get("plain_size_bytes"),
        "sha256": result.get("sha256"),
        "keyID": result.get("key_id"),
        "rows": sum(rows.values()) if isinstance(rows, dict) and rows else None,
    }


def _failure(reason: str, message: str) -> Obj:
    return {"failure": {"reason": reason, "message": message}}


def _ended(told: Obj) -> Status:
    """The end as the fields tell it: whoever looks again says the same."""
    fields: dict[str, Any] = {k: v for k, v in told.items() if k not in ("conditions", "inventory")}
    failure = told.get("failure")
    if failure is not None:
        reason, message = failure["reason"], failure["message"]
        return Status(
            [
                *summary("False", reason, f"no copy was made: {message}", needs_person=True),
                Condition("Verified", "False", reason, "there is no copy"),
            ],
            fields,
        )
    where = f"copy {told.get('backupID')} of {told.get('size')} at {told.get('location')}"
    if not told.get("verifiedAt"):
        message = f"{where} was not read back; run `backup verify {told.get('backupID')}`"
        return Status(
            [
                *summary("False", "NotVerified", message, needs_person=True),
                Condition("Verified", "False", "NotVerified", message),
            ],
            fields,
        )
    proof = f"read back to its end in {told.get('verificationSeconds')} s, digests and archive are whole"
    return Status(
        [*summary("True", "Verified", f"{where}, {proof}"), Condition("Verified", "True", "ReadBack", proof)], fields
    )


def size_text(size_bytes: int) -> str:
    """For people, in powers of 1024."""
    value, units = float(size_bytes), iter(("B", "KiB", "MiB", "GiB"))
    for unit in units:
        if value < _KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} TiB"


def _text(seen: Observation) -> str:
    return seen.now.strftime("%Y-%m-%dT%H:%M:%SZ")
