"""What is told of a Restore: how far it is, what the service has now, and if it failed, what became of its database."""

from typing import Any, Final

from shieldx_operator.blocks import outcome, stores
from shieldx_operator.blocks.backup import CONTAINER
from shieldx_operator.blocks.diagnosis import job_condition, workload_finding
from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Condition, Obj, Observation, Results, Status
from shieldx_operator.kinds.restore.plan import obstacle, writers
from shieldx_operator.kinds.restore.view import View, resolved

POLL_S: Final = 2.0
"""Somebody waits for the service: pods, which are not watched, are looked at this often."""
_MAX_STEPS: Final = 32
_PASSES: Final = frozenset({"RestoreRuns"})
_NOTHING_ASIDE: Final = "NotFound"
"""What a rollback fails with where no database was put aside."""


def status(v: View, seen: Observation, results: Results) -> Status:
    if v.ended:
        return _ended(v.told)
    fields = _known(v, seen)
    job = seen.objects.get(v.job)
    if job is not None:
        fields["startedAt"] = v.told.get("startedAt") or job.get("status", {}).get("startTime") or _text(seen)
    end = outcome.of_job(job, seen.lists.get("pods", ()), CONTAINER)
    if end is not None and end.succeeded:
        return _ended(
            {**fields, "phase": "Succeeded", **_result(end.result), "completedAt": end.ended_at or _text(seen)}
        )
    if end is not None:
        fields["failure"] = {"reason": end.reason, "message": end.message}
        back = _rolled_back(v, seen)
        if back is not None:
            return _ended({**fields, "phase": "Failed", "rolledBack": back, "completedAt": _text(seen)})
    phase, reason, message, person = _under_way(v, seen, results)
    return Status(
        [
            *summary("False", reason, message, needs_person=person),
            Condition("Restored", "Unknown", reason, "it is not done yet"),
        ],
        {**fields, "phase": phase},
        requeue_after_s=POLL_S,
    )


def _known(v: View, seen: Observation) -> Obj:
    fields: Obj = {name: v.told[name] for name in ("requestedAt", "startedAt") if name in v.told}
    fields.setdefault("requestedAt", _text(seen))
    chosen = resolved(v, seen)
    if isinstance(chosen, tuple):
        return fields
    fields["effective"] = chosen.to_json()
    found = v.stores or stores.found(seen.objects.get(v.target))
    return fields if found is None else {**fields, "stores": found.to_json()}


def _rolled_back(v: View, seen: Observation) -> str | None:
    """What became of the database after a failure; None while that is not known."""
    if not v.in_place:
        return "the new service's database is left as it is, to be looked at; delete the service to begin anew"
    end = outcome.of_job(seen.objects.get(v.rollback), seen.lists.get("pods", ()), CONTAINER)
    if end is None:
        return None
    if end.succeeded and end.result.get("rolled_back"):
        left = f"; {end.result['message']}" if end.result.get("message") else ""
        return f"the database that was put aside ({end.result.get('restored_database')}) has its place again{left}"
    if end.succeeded or (end.reason == _NOTHING_ASIDE and end.said):
        return str(end.result.get("message") or end.message)
    return f"the rollback failed: {end.reason}: {end.message}"


def _under_way(v: View, seen: Observation, results: Results) -> tuple[str, str, str, bool]:
    """Phase, reason, message, and whether a person is needed."""
    failure = next(iter(results.failures), None)
    phase = _phase(v, seen)
    if failure is not None:
        return phase, failure.reason, f"{failure.where}: {failure.message}", not failure.retryable
    if phase == "Pending":
        return (phase, *_why_not(v, seen))
    if phase == "Stopping":
        names = writers(seen)
        message = (
            f"waiting until nobody writes any more: {', '.join(names[:5])}" if names else "the Job is about to be made"
        )
        return phase, "StoppingWriters", message, False
    name = v.job.name if phase == "Restoring" else v.rollback.name
    pods = outcome.pods_of(name, seen.lists.get("pods", ()))
    pending = [p for p in pods if p.get("status", {}).get("phase") == "Pending"]
    warnings = [e for e in seen.lists.get("Job warnings", ()) if e["involvedObject"].get("name") == name]
    finding = workload_finding(None, pending, () if pods else warnings)
    if finding is not None:
        return phase, finding.reason, finding.message, finding.needs_person
    words = outcome.last_words(pods, CONTAINER)
    told = f"Job {name} is at work" + (f"; the try before failed: {words}" if words else "")
    return phase, phase, told, False


def _phase(v: View, seen: Observation) -> str:
    state = job_condition(seen.objects.get(v.job))
    if state == "Failed":
        return "RollingBack"
    if state != "Missing":
        return "Restoring"
    return "Pending" if v.work is None or obstacle(v, v.work, seen) else "Stopping"


def _why_not(v: View, seen: Observation) -> tuple[str, str, bool]:
    chosen = resolved(v, seen)
    if isinstance(chosen, tuple):
        return (*chosen, True)
    work = v.work
    if work is None:
        if v.target not in seen.objects:
            return "TargetNotFound", f"spec.target: {v.target} does not exist; create it", True
        return "Resolving", "finding out where the target's stores are", False
    found = obstacle(v, work, seen)
    return (*found, found[0] not in _PASSES) if found else ("Starting", "about to begin", False)


def _result(result: Obj) -> Obj:
    replayed = result.get("replayed") or {}
    steps = [_step(s) for s in result.get("timeline") or ()][:_MAX_STEPS]
    found = {
        "backupID": result.get("backup"),
        "takenAt": result.get("taken_at"),
        "replayedTo": replayed.get("to") or result.get("taken_at"),
        "replayedRows": replayed.get("rows"),
        "safetyCopy": result.get("safety_copy"),
        "durationSeconds": result.get("restore_s"),
        "timeline": steps or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _step(step: Obj) -> str:
    details = ", ".join(f"{k} {v}" for k, v in step.items() if k not in ("at_s", "step"))
    return f"{step.get('at_s', 0):.1f} s: {step.get('step', '')}" + (f" ({details})" if details else "")


def _ended(told: Obj) -> Status:
    """The end as the fields tell it: whoever looks again says the same."""
    fields: dict[str, Any] = {k: v for k, v in told.items() if k not in ("conditions", "inventory")}
    failure = told.get("failure")
    if told.get("phase") == "Failed" and failure:
        message = f"{failure['message']}; {told.get('rolledBack', '')}"
        return Status(
            [
                *summary("False", failure["reason"], message, needs_person=True),
                Condition("Restored", "False", failure["reason"], message),
            ],
            fields,
        )
    kept = f"; the database before is kept as {told['safetyCopy']}" if told.get("safetyCopy") else ""
    message = f"{told.get('backupID')} is restored to {told.get('replayedTo')} in {told.get('durationSeconds')} s{kept}"
    return Status([*summary("True", "Restored", message), Condition("Restored", "True", "Proved", message)], fields)


def _text(seen: Observation) -> str:
    return seen.now.strftime("%Y-%m-%dT%H:%M:%SZ")
