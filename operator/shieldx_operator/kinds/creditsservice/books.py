"""What the comparisons of the accounts with the ledger found, as a condition, a time and figures."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from shieldx_contract import CREDITS_DIFFER_EXIT_CODE
from shieldx_operator.blocks.component import Component, component_pods, last_told
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.job import failure_message
from shieldx_operator.blocks.outcome import pods_of
from shieldx_operator.blocks.resources import CRON_JOB
from shieldx_operator.engine.types import Measure, Obj, Observation, Results, Status
from shieldx_operator.kinds.creditsservice.view import RECONCILIATION_COMPONENT, View

CONDITION: Final = "BooksAgree"
AGREE: Final = "shieldx_credits_books_agree"
COMPARED: Final = "shieldx_credits_last_reconciliation_timestamp_seconds"
GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    AGREE: ("1 while the last comparison of all accounts with the ledger agreed, 0 while it differed.", ()),
    COMPARED: ("When all accounts were last compared; 0: never. Absent while comparisons are suspended.", ()),
}
_MAX_SAID_CHARS: Final = 1000
_ENDS: Final = ("Complete", "Failed")
REFUSED: Final = "ScheduleRefused"
_REMEDY: Final = "correct spec.reconciliation.schedule or timeZone"
_SINCE: Final = "; since then: "
"""Begins the note on what could not be done after what was found."""
_RUNBOOK: Final = "docs/runbooks/balance-discrepancy.md says what to do"


def ended(seen: Observation) -> list[tuple[str, Obj]]:
    """The Jobs that have ended and when, the last one first."""
    found = [(when, job) for job in seen.lists.get("comparisons", ()) if (when := _ended_at(job))]
    return sorted(found, key=lambda entry: entry[0], reverse=True)


def _ended_at(job: Obj) -> str:
    told = (job.get("status") or {}).get("conditions") or ()
    return next((c["lastTransitionTime"] for c in told if c["type"] in _ENDS and c["status"] == "True"), "")


def _agreed(job: Obj, seen: Observation) -> bool | None:
    """What the Job found; None where it compared nothing, or its pod is gone and with it the exit code."""
    if job_condition(job) == "Complete":
        return True
    return False if _last_end(job["metadata"]["name"], seen).get("exitCode") == CREDITS_DIFFER_EXIT_CODE else None


def compared(seen: Observation) -> tuple[str, Obj] | None:
    """When a Job last compared all accounts, and that Job; None where none is there that is known to have."""
    return next(((when, job) for when, job in ended(seen) if _agreed(job, seen) is not None), None)


def books(v: View, seen: Observation, results: Results) -> Component:
    """Whether the accounts are what the ledger says. No part of Ready: the service serves while somebody looks.

    Only a run that compared takes back that they differ: one that could not, or cannot begin, adds a note.
    """
    before = last_told(seen.parent, CONDITION)
    failure = next((f for f in results.failures if f.ref is not None and f.ref.resource == CRON_JOB), None)
    if failure is not None:
        message = f"spec.reconciliation: {failure.where} cannot be written: {failure.message}; {_REMEDY}"
        return _not_compared(_found(seen, before), REFUSED, message)
    if before.get("reason") == REFUSED:
        before = {}  # what was wrong is mended
    told = Component(CONDITION, before["status"], before["reason"], before["message"]) if before else None
    found, last = _found(seen, before), next(iter(ended(seen)), None)
    if last is None:
        when = f"{v.effective.reconciliation.schedule} {v.effective.reconciliation.time_zone}"
        waiting = f"all accounts are compared with the ledger at {when}"
        return told or Component(CONDITION, "Unknown", "NotComparedYet", waiting)
    when, job = last
    if found and (when == _told_at(seen) or last == compared(seen)):
        return found
    name, end = job["metadata"]["name"], _last_end(job["metadata"]["name"], seen)
    if told and not end and told.message.endswith(f"see Job {name}"):
        return told  # its pod is gone: what was told of it says more
    message = f"the accounts could not be compared with the ledger at {when}: {_said(end) or failure_message(job)}"
    return _not_compared(found, "ReconciliationFailed", f"{message}; see Job {name}")


def _not_compared(found: Component | None, reason: str, message: str) -> Component:
    if found and found.status == "False":
        return replace(found, message=f"{found.message}{_SINCE}{message}")
    return Component(CONDITION, "Unknown", reason, message)


def _found(seen: Observation, before: Obj) -> Component | None:
    """What the last run that compared has found: by its Job, or as it was told while that was there."""
    last = compared(seen)
    if last is not None and last[0] >= _told_at(seen):
        when, job = last
        name = job["metadata"]["name"]
        if _agreed(job, seen):
            return Component(CONDITION, "True", "Compared", f"all accounts agreed with the ledger at {when}")
        said = _said(_last_end(name, seen))
        message = f"accounts differ from the ledger (Job {name}, {when}): {said}; {_RUNBOOK}"
        return Component(CONDITION, "False", "BalanceDiscrepancy", message)
    return _again(before) if before.get("status") in ("True", "False") else None


def _again(before: Obj) -> Component:
    return Component(CONDITION, before["status"], before["reason"], before["message"].partition(_SINCE)[0])


def _said(end: Obj) -> str:
    return " ".join(str(end.get("message", "")).split())[-_MAX_SAID_CHARS:]


def _told_at(seen: Observation) -> str:
    return str((seen.parent.get("status") or {}).get("lastReconciliation", ""))


def _last_end(job: str, seen: Observation) -> Obj:
    """How the container of the Job's pod ended; empty where its pod is gone or was never there."""
    pods = pods_of(job, component_pods(seen, RECONCILIATION_COMPONENT))
    ends = [
        ended
        for pod in pods
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
        if (ended := (status.get("state") or {}).get("terminated"))
    ]
    return max(ends, key=lambda end: str(end.get("finishedAt", "")), default={})


def fields(seen: Observation) -> Obj:
    """When all accounts were last compared: a run that could not compare them does not count."""
    last = compared(seen)
    when = max(last[0] if last else "", _told_at(seen))
    return {"lastReconciliation": when} if when else {}


def measures(v: View, status: Status) -> list[Measure]:
    found = []
    agree = next((c.status for c in status.conditions if c.type == CONDITION), "Unknown")
    if agree != "Unknown":
        found.append(Measure(AGREE, float(agree == "True")))
    if not v.effective.reconciliation.suspend:
        when = status.fields.get("lastReconciliation")
        found.append(Measure(COMPARED, datetime.fromisoformat(when).timestamp() if when else 0.0))
    return found
