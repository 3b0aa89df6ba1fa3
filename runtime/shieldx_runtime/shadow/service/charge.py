"""What an evaluation costs and how it is paid, as a state machine. Pure: no clock, no call, no database.

A charge is kept in the database before the first call and after each. Every call is one that may be made again: its
idempotency key is made of the evaluation's id, and a hold can be ended once. So whoever finds a charge, after whatever
crash, makes the next call of its state, and the outcome is the same.
"""

import hashlib
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

SAMPLES_A_PRICE: Final = 1000
"""Prices are for so many samples."""


class State(StrEnum):
    """As `migrations/0003_charges.sql` explains them."""

    RESERVING = "reserving"
    HELD = "held"
    COMMITTING = "committing"
    CANCELLING = "cancelling"
    COMMITTED = "committed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    LAPSED = "lapsed"


ENDS: Final = frozenset({State.COMMITTED, State.CANCELLED, State.REFUSED, State.LAPSED})


class Call(StrEnum):
    """A call of the credits API."""

    RESERVE = "reserve"
    COMMIT = "commit"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Charge:
    """`most` is held, `owed` of it is taken in the end: both in credits, `owed` 0 until it is known."""

    eval_id: uuid.UUID
    tenant_id: str
    state: State
    most: int
    hold_s: int
    owed: int = 0
    reservation_id: uuid.UUID | None = None
    hold_until: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """The ledger holds the credits until then."""

    reservation_id: uuid.UUID
    until: datetime


@dataclass(frozen=True, slots=True)
class Insufficient:
    """The tenant has not enough; nothing is held."""

    available: int
    required: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The ledger has no such tenant, or no such reservation."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The hold has been ended as it was asked."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The hold had been ended before; `state` says how."""

    state: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, or one that says nothing about the hold: it may or may not have been made or ended.

    `sent` False: the call was certainly not carried out, since no try of it reached the ledger or was let in.
    """

    problem: str
    sent: bool = True


Outcome: TypeAlias = "Held | Insufficient | Unknown | Moved | Closed | Failed"


def price_of(samples: int, credits_per_1000: int) -> int:
    """Credits for so many samples, rounded up; 0 for none."""
    return -(-samples * credits_per_1000 // SAMPLES_A_PRICE)


def key_of(eval_id: uuid.UUID, call: Call) -> str:
    """The idempotency key of a call: the same for the same evaluation, in the form of a UUID v4."""
    digest = hashlib.sha256(f"shieldx shadow {eval_id} {call}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def next_call(charge: Charge) -> Call | None:
    """What is to be asked of the ledger now; None where the charge waits for its evaluation, or has ended."""
    match charge.state:
        case State.RESERVING:
            return Call.RESERVE
        case State.COMMITTING:
            return Call.COMMIT
        case State.CANCELLING if charge.reservation_id is None:
            # the answer to the first was lost: the same key finds the hold, or makes one to cancel
            return Call.RESERVE
        case State.CANCELLING:
            return Call.CANCEL
        case _:
            return None


def after(charge: Charge, call: Call, outcome: Outcome) -> Charge:
    """The charge once `call`, the `next_call` of it, had that outcome.

    Raises:
        ValueError: the outcome is none of that call.
    """
    if isinstance(outcome, Failed):
        return replace(charge, state=_after_failure(charge.state, outcome), problem=outcome.problem)
    return _reserved(charge, outcome) if call is Call.RESERVE else _closed(charge, call, outcome)


def _after_failure(state: State, outcome: Failed) -> State:
    if state is not State.RESERVING:
        return state
    # the first call of a charge: where it was carried out, nobody's credits may stay held; where it was certainly
    # not, to hold them now, only to cancel, would take them from somebody who asks meanwhile
    return State.CANCELLING if outcome.sent else State.CANCELLED


def _reserved(charge: Charge, outcome: Outcome) -> Charge:
    match outcome:
        case Held(reservation_id, until):
            state = State.HELD if charge.state is State.RESERVING else charge.state
            return replace(charge, state=state, reservation_id=reservation_id, hold_until=until, problem="")
        case Insufficient(available, required):
            problem = f"insufficient credits: {available} are available, {required} are required"
        case Unknown():
            problem = "the credits service has no such tenant"
        case _:
            raise ValueError(f"{outcome} is no outcome of a reserve")
    return replace(charge, state=State.REFUSED, problem=problem)


def _closed(charge: Charge, call: Call, outcome: Outcome) -> Charge:
    wanted = State.COMMITTED if call is Call.COMMIT else State.CANCELLED
    match outcome:
        case Moved():
            return replace(charge, state=wanted, problem="")
        case Closed(state) if state == wanted:
            # by a call of ours whose answer was lost, and whose key the ledger has forgotten since
            return replace(charge, state=wanted, problem="")
        case Closed(state):
            return _without_hold(charge, f"the hold was {state} before")
        case Unknown():
            return _without_hold(charge, "the credits service does not know the hold any more")
        case _:
            raise ValueError(f"{outcome} is no outcome of a {call}")


def given_up(charge: Charge) -> Charge:
    """The end of a charge whose hold must have come to its own by now."""
    return _without_hold(charge, charge.problem or "its hold ended by itself")


def _without_hold(charge: Charge, problem: str) -> Charge:
    """Its hold is gone. Only who was to commit it has lost something: where nothing is owed, all is as it should be."""
    state = State.LAPSED if charge.state is State.COMMITTING else State.CANCELLED
    return replace(charge, state=state, problem=problem)
