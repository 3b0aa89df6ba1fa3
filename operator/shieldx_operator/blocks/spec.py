"""The way in and the way out that all kinds share: a spec that is parsed, and the three conditions of kstatus."""

from collections.abc import Callable
from typing import Literal, TypeVar

from pydantic import ValidationError

from shieldx_operator.engine.types import Condition, Obj, Stall

Parsed = TypeVar("Parsed")
_MAX_PROBLEMS = 5


def parse(parse_spec: Callable[[Obj], Parsed], parent: Obj) -> Parsed:
    """What `parse_spec` makes of an object's spec.

    Raises:
        Stall: the schema in the cluster is older than this operator, or was bypassed; the message names the fields.
    """
    try:
        return parse_spec(parent.get("spec") or {})
    except ValidationError as error:
        problems = "; ".join(
            f"spec.{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:_MAX_PROBLEMS]
        )
        raise Stall("InvalidSpec", f"{problems}; correct the object") from None


def summary(
    ready: Literal["True", "False", "Unknown"], reason: str, message: str, *, needs_person: bool = False
) -> list[Condition]:
    """Ready, Reconciling and Stalled: at most one of the last two is true, and neither when Ready is.

    `needs_person` tells a failure that stays until somebody acts from work that is going on.
    """
    going_on = ready == "False" and not needs_person
    stalled = ready == "False" and needs_person
    return [
        Condition("Ready", ready, reason, message),
        Condition("Reconciling", "True" if going_on else "False", reason, message if going_on else ""),
        Condition("Stalled", "True" if stalled else "False", reason, message if stalled else ""),
    ]
