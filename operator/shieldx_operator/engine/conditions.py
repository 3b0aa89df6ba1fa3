"""Conditions as kstatus reads them, and the whole status that is written. Pure.

kstatus (sigs.k8s.io/cli-utils/pkg/kstatus) takes `Reconciling=True` for in progress, `Stalled=True` for failed, and a
`observedGeneration` behind `metadata.generation` for in progress.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shieldx_operator.engine.types import Condition, Failure, Obj, Stall, Status

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
MAX_MESSAGE_CHARS: Final = 4096

_NEUTRAL: Final = {READY: "Unknown", RECONCILING: "False", STALLED: "False"}
"""What a condition that was never written is taken for: nothing happened when it appears with this status."""


def at_first_sight() -> list[Condition]:
    return [
        Condition(READY, "Unknown", "Observed", "the operator has seen this object and is about to work on it"),
        Condition(RECONCILING, "True", "Observed", "the operator is working on this object"),
        Condition(STALLED, "False", "Observed", ""),
    ]


def of_stall(stall: Stall) -> list[Condition]:
    """Nothing goes on until the user changes the object."""
    return [
        Condition(READY, "False", stall.reason, stall.message),
        Condition(RECONCILING, "False", stall.reason, ""),
        Condition(STALLED, "True", stall.reason, stall.message),
    ]


def of_error(reason: str, message: str) -> list[Condition]:
    """The operator could not even decide what to do; it tries again."""
    return [
        Condition(READY, "False", reason, message),
        Condition(RECONCILING, "True", reason, message),
        Condition(STALLED, "False", reason, ""),
    ]


def completed(conditions: Sequence[Condition], failures: Sequence[Failure]) -> list[Condition]:
    """What a kind says, with what it left unsaid: never Ready while something failed, and all three of kstatus.

    What failed in a way that no repetition mends is Stalled.
    """
    by_type = {c.type: c for c in conditions}
    ready = by_type.get(READY)
    if failures and (ready is None or ready.status == "True"):
        first = failures[0]
        ready = Condition(READY, "False", first.reason, f"{first.where}: {first.message}")
    if ready is None:
        ready = Condition(READY, "Unknown", "NotTold", "")
    by_type[READY] = ready
    if STALLED not in by_type:
        stuck = bool(failures) and not any(f.retryable for f in failures)
        by_type[STALLED] = Condition(
            STALLED, "True" if stuck else "False", ready.reason, ready.message if stuck else ""
        )
    if RECONCILING not in by_type:
        going_on = ready.status != "True" and by_type[STALLED].status != "True"
        by_type[RECONCILING] = Condition(
            RECONCILING, "True" if going_on else "False", ready.reason, ready.message if going_on else ""
        )
    first_types = [READY, RECONCILING, STALLED]
    return [by_type[t] for t in first_types] + [c for t, c in by_type.items() if t not in first_types]


def written(conditions: Iterable[Condition], before: Sequence[Obj], generation: int, now: datetime) -> list[Obj]:
    """Conditions as they stand in a status: the transition time is kept while the condition's status is."""
    old = {c["type"]: c for c in before}
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    out = []
    for condition in conditions:
        previous = old.get(condition.type)
        kept = previous is not None and previous.get("status") == condition.status
        out.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason or "Unspecified",
                "message": shortened(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": previous["lastTransitionTime"] if kept and previous else moment,
            }
        )
    return out


def shortened(message: str) -> str:
    """Both ends say most: which object it is, and what the server said last."""
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    half = (MAX_MESSAGE_CHARS - 5) // 2
    return f"{message[:half]} ... {message[-half:]}"


def status_body(status: Status, conditions: list[Obj], inventory: list[Obj], generation: int) -> Obj:
    body = {k: v for k, v in status.fields.items() if v is not None}
    return {**body, "observedGeneration": generation, "conditions": conditions, "inventory": inventory}


def same_status(desired: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Equal but for the order of conditions; empty and absent are the same."""
    return _normal(desired) == _normal(live)


def _normal(status: Mapping[str, Any]) -> Obj:
    body = {k: v for k, v in status.items() if v not in (None, [], {}, "")}
    if "conditions" in body:
        body["conditions"] = {c["type"]: {k: v for k, v in c.items() if v != ""} for c in body["conditions"]}
    return body


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition that changed; `worse` decides between a Warning and a Normal event."""

    type: str
    status: str
    reason: str
    message: str
    worse: bool


def transitions(before: Sequence[Obj], after: Sequence[Obj], *, failing: bool = False) -> list[Transition]:
    """Conditions whose status changed, or Ready's and Stalled's reason.

    `Reconciling` is left out: it mirrors `Ready` and would double each event. What is not true yet is no worsening: one
    that was true, whatever a person must mend, and all that is told while something is `failing`, is.
    """
    old = {c["type"]: c for c in before}
    stuck = failing or any(c["type"] == STALLED and c["status"] == "True" for c in after)
    out = []
    for condition in after:
        kind = condition["type"]
        if kind == RECONCILING:
            continue
        previous = old.get(kind, {"status": _NEUTRAL.get(kind, "Unknown"), "reason": condition["reason"]})
        moved = previous["status"] != condition["status"]
        renamed = kind in (READY, STALLED) and previous.get("reason") != condition["reason"]
        told_by_ready = kind == STALLED and condition["status"] == "False"
        if moved or (renamed and not told_by_ready and condition["status"] != "Unknown"):
            bad = "True" if kind == STALLED else "False"
            worse = condition["status"] == bad and (stuck or previous["status"] == "True")
            out.append(Transition(kind, condition["status"], condition["reason"], condition["message"], worse))
    return out
