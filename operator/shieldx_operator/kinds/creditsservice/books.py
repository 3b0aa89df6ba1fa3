"""What the comparisons of the accounts with the ledger found, as a condition, a time and figures."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shieldx_contract import CREDITS_DIFFER_EXIT_CODE
from shieldx_operator.blocks.component import Component, component_pods, last_told
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.job import failure_message
from shieldx_operator.blocks.outcome import pods_of
from shieldx_operator.engine.types import Measure, Obj, Observation, Status
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
_RUNBOOK: Final = "docs/runbooks/balance-discrepancy.md says what to do"


def compared(seen: Observation) -> tuple[Obj, str] | None:
    """The Job that ended last, and when; None where none is there that has ended."""
    ended = [(job, when) for job in seen.lists.get("comparisons", ()) if (when := _ended_at(job))]
    return max(ended, key=lambda e: e[1], default=None)


def _ended_at(job: Obj) -> str:
    told = (job.get("status") or {}).get("conditions") or ()
    return next((c["lastTransitionTime"] for c in told if c["type"] in _ENDS and c["status"] == "True"), "")


def books(v: View, seen: Observation) -> Component:
    """Whether the accounts are what the ledger says. No part of Ready: the service serves while somebody looks."""
    last = compared(seen)
    before = last_told(seen.parent, CONDITION)
    if last is None and before:
        return Component(CONDITION, before["status"], before["reason"], before["message"])
    if last is None:
        when = f"{v.effective.reconciliation.schedule} {v.effective.reconciliation.time_zone}"
        return Component(CONDITION, "Unknown", "NotComparedYet", f"all accounts are compared with the ledger at {when}")
    job, when = last
    name = job["metadata"]["name"]
    if job_condition(job) == "Complete":
        return Component(CONDITION, "True", "Compared", f"all accounts agreed with the ledger at {when}")
    end = _last_end(name, seen)
    said = " ".join(str(end.get("message", "")).split())[-_MAX_SAID_CHARS:]
    if end.get("exitCode") == CREDITS_DIFFER_EXIT_CODE:
        message = f"accounts differ from the ledger (Job {name}, {when}): {said}; {_RUNBOOK}"
        return Component(CONDITION, "False", "BalanceDiscrepancy", message)
    if not end and before.get("status") == "False":
        # its pod is gone, and with it the exit code: what it found is still the best answer
        return Component(CONDITION, "False", before["reason"], before["message"])
    message = f"the accounts could not be compared with the ledger: {said or failure_message(job)}; see Job {name}"
    return Component(CONDITION, "Unknown", "ReconciliationFailed", message)


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
    last = compared(seen)
    when = last[1] if last else (seen.parent.get("status") or {}).get("lastReconciliation")
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
