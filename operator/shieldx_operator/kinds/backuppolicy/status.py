"""What is told of a BackupPolicy: whether copies are made, proved and kept as asked, and the objectives met."""

from datetime import timedelta
from typing import Final, TypeAlias

from shieldx_operator.blocks import hold
from shieldx_operator.blocks.component import component_pods
from shieldx_operator.blocks.diagnosis import workload_finding
from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Condition, Obj, Observation, Results, Status
from shieldx_operator.kinds.backuppolicy import facts
from shieldx_operator.kinds.backuppolicy.facts import span_text
from shieldx_operator.kinds.backuppolicy.plan import trouble
from shieldx_operator.kinds.backuppolicy.view import DRILL, PRUNE, SHIP, STREAMS, View, moment

POLL_S: Final = 10.0
"""Pods are not watched: while something is amiss or under way, they are looked at this often."""
Reason: TypeAlias = tuple[str, str, bool]
"""Reason, message, and whether a person is needed."""
Look: TypeAlias = tuple[View, Observation, Results, Obj]
"""With the fields of the status as they are told now."""


def status(v: View, seen: Observation, results: Results) -> Status:
    told = facts.fields(v, seen)
    look = (v, seen, results, told)
    reason = _why_not(look)
    if v.effective.suspend:
        ready = summary("Unknown", "Suspended", "spec.suspend is true: nothing begins and nothing is shipped")
    elif reason is None:
        ready = summary("True", "Proved", _proved(told))
    else:
        ready = summary("False", reason[0], reason[1], needs_person=reason[2])
    conditions = [*ready, _verified(told), _restorable(look), _pruned(told), *_shipping(look), objectives(look)]
    shown = {name: value for name, value in told.items() if value != {}}
    return Status(conditions, shown, requeue_after_s=_next_look(look, well=ready[0].status == "True"))


def _proved(told: Obj) -> str:
    newest = told["database"].get("backup") or told["cache"].get("backup")
    drilled = f"; a restore took {told['rto']}" if told.get("rto") else ""
    return f"{newest} is the newest copy that was found whole{drilled}"


def _refused(look: Look) -> Reason | None:
    failure = next(iter(look[2].failures), None)
    return (failure.reason, f"{failure.where}: {failure.message}", not failure.retryable) if failure else None


def _trouble(look: Look) -> Reason | None:
    found = trouble(look[0], look[1])
    return (*found, found[0] not in ("Resolving", "ServiceNotReady")) if found else None


def _failed(look: Look) -> Reason | None:
    """The last run of a stream, or the last drill or pruning, failed."""
    v, _, _, told = look
    for stream in STREAMS:
        failure = told[stream].get("failure") if v.effective.stream(stream).enabled else None
        if failure:
            due = told[stream].get("nextSchedule", "never")
            text = f"{failure['reason']}: {failure['message']}; the next is due {due}, one by hand (a Backup) runs now"
            return f"{stream.capitalize()}BackupFailed", text, True
    for task, reason in ((DRILL, "DrillFailed"), (PRUNE, "PruneFailed")):
        failure = told.get(task, {}).get("failure")
        if failure:
            return reason, f"{failure['reason']}: {failure['message']}", True
    return None


def _held(look: Look) -> Reason | None:
    v, seen, _, _ = look
    restore = hold.holder(seen, v.service.namespace, v.effective.service_name)
    return (
        ("RestoreRuns", f"Restore {restore} holds {v.credits}; it goes on when it is done", False) if restore else None
    )


def _never(look: Look) -> Reason | None:
    v, _, _, told = look
    for stream in STREAMS:
        if v.effective.stream(stream).enabled and not told[stream].get("lastVerified"):
            return "NeverSucceeded", f"there is no verified copy of the {stream} yet; {_going_on(told)}", False
    return None


def _not_shipped(look: Look) -> Reason | None:
    found = _shipping(look)
    return (
        (found[0].reason, found[0].message, found[0].reason not in ("Starting", "Stopped"))
        if (found and found[0].status != "True")
        else None
    )


def _not_drilled(look: Look) -> Reason | None:
    v, _, _, told = look
    if not v.effective.drill.enabled or not v.effective.database.enabled or told.get(DRILL, {}).get("lastSuccess"):
        return None
    return "NeverDrilled", f"no copy has been restored for a test yet; {_going_on(told)}", False


_WHY_NOT: Final = (_refused, _trouble, _held, _failed, _never, _not_shipped, _not_drilled)
"""What can be in the way of Ready, in the order in which it is told."""


def _why_not(look: Look) -> Reason | None:
    return next((reason for why in _WHY_NOT if (reason := why(look)) is not None), None)


def _going_on(told: Obj) -> str:
    return f"{told['running']} runs" if told.get("running") else f"the next is due {told.get('nextSchedule', 'never')}"


def _verified(told: Obj) -> Condition:
    newest = told["database"].get("backup") or told["cache"].get("backup")
    if newest is None:
        return Condition("Verified", "False", "NeverVerified", "no copy has been read back and found whole yet")
    return Condition("Verified", "True", "ReadBack", f"{newest} was read back and found whole")


def _restorable(look: Look) -> Condition:
    v, _, _, told = look
    drill = told.get(DRILL, {})
    if not v.effective.drill.enabled:
        return Condition("Restorable", "Unknown", "DrillsDisabled", "spec.drill.enabled is false: nobody knows")
    if drill.get("failure"):
        failure = drill["failure"]
        return Condition("Restorable", "False", failure["reason"], failure["message"])
    if not drill.get("lastSuccess"):
        return Condition("Restorable", "Unknown", "NeverDrilled", "no copy has been restored for a test yet")
    message = f"{drill.get('forBackup')} was restored and proved in {told.get('rto')} at {drill['lastSuccess']}"
    return Condition("Restorable", "True", "Restored", message)


def _pruned(told: Obj) -> Condition:
    prune = told.get(PRUNE, {})
    if prune.get("failure"):
        failure = prune["failure"]
        return Condition("RetentionApplied", "False", failure["reason"], failure["message"])
    if not prune.get("lastSuccess"):
        return Condition(
            "RetentionApplied", "Unknown", "NeverPruned", "nothing was verified yet that lets older copies go"
        )
    return Condition(
        "RetentionApplied", "True", "Pruned", f"decided at {prune['lastSuccess']}; the Job's log has each reason"
    )


def _shipping(look: Look) -> list[Condition]:
    """Whether the shipper runs; nothing where the audit log is not to be shipped."""
    v, seen, _, _ = look
    if not v.effective.audit.enabled:
        return []
    live = seen.objects.get(v.shipper)
    if live is not None and live.get("status", {}).get("availableReplicas"):
        return [Condition("AuditShipping", "True", "Shipping", f"{v.shipper.name} ships the audit log")]
    if live is not None and live["spec"].get("replicas") == 0:
        return [Condition("AuditShipping", "False", "Stopped", f"{v.shipper.name} is stopped for now")]
    finding = workload_finding(live, component_pods(seen, SHIP), ())
    if finding is not None:
        return [Condition("AuditShipping", "False", finding.reason, finding.message)]
    return [Condition("AuditShipping", "False", "Starting", f"waiting for the pod of {v.shipper.name}")]


def objectives(look: Look) -> Condition:
    """Whether what was measured, and what would be lost now, are within spec.objectives."""
    v, _, _, told = look
    wanted = v.effective.objectives
    rto, rpo = told.get(DRILL, {}).get("rtoSeconds"), facts.rpo_s(v, told)
    missed = []
    if rto is not None and rto > wanted.rto_seconds:
        missed.append(f"a restore took {span_text(rto)}, rtoSeconds asks for {span_text(wanted.rto_seconds)}")
    if rpo is not None and rpo > wanted.rpo_seconds:
        missed.append(f"{span_text(rpo)} would have been lost, rpoSeconds asks for {span_text(wanted.rpo_seconds)}")
    exposed = _exposed_s(look)
    if exposed is not None and exposed > wanted.rpo_seconds:
        missed.append(
            f"the newest verified copy is of {told['database']['takenAt']} and nothing is shipped after it, older than "
            f"rpoSeconds ({span_text(wanted.rpo_seconds)})"
        )
    if missed:
        return Condition("ObjectivesMet", "False", "Missed", "; ".join(missed))
    if rto is None or rpo is None:
        unmeasured = "RTO" if rto is None else "RPO"
        return Condition("ObjectivesMet", "Unknown", "NotMeasured", f"{unmeasured} has not been measured yet")
    asked = f"{span_text(wanted.rto_seconds)} and {span_text(wanted.rpo_seconds)}"
    message = f"RTO {span_text(rto)} and RPO {span_text(rpo)} were measured, {asked} are asked for"
    return Condition("ObjectivesMet", "True", "Measured", message)


def _exposed_s(look: Look) -> float | None:
    """Age of the newest verified copy where nothing is shipped after it; None where the audit log covers it."""
    _, seen, _, told = look
    taken_at = moment(told["database"].get("takenAt"))
    shipped = _shipping(look)
    if taken_at is None or (shipped and shipped[0].status == "True"):
        return None
    return (seen.now - taken_at).total_seconds()


def _next_look(look: Look, *, well: bool) -> float | None:
    """The next due time, the moment at which an objective is missed, or soon where something is amiss."""
    v, seen, _, told = look
    if v.effective.suspend:
        return None
    if not well or told.get("running"):
        return POLL_S
    times = [moment(told.get(part, {}).get("nextSchedule")) for part in (*STREAMS, DRILL)]
    taken_at = moment(told["database"].get("takenAt"))
    if _exposed_s(look) is not None and taken_at is not None:
        times.append(taken_at + timedelta(seconds=v.effective.objectives.rpo_seconds + 1))
    waits = [(t - seen.now).total_seconds() for t in times if t is not None and t > seen.now]
    return max(1.0, min(waits)) if waits else None
