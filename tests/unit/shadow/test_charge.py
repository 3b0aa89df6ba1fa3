"""A charge ends once, whatever crashes: the state machine beside a ledger that may lose any answer."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx_runtime.shadow.service.billing import MARGIN_S, time_left_s
from shieldx_runtime.shadow.service.charge import (
    ENDS,
    Call,
    Charge,
    Closed,
    Failed,
    Held,
    Insufficient,
    Moved,
    Outcome,
    State,
    Unknown,
    after,
    given_up,
    key_of,
    next_call,
    price_of,
)

UNTIL = datetime(2030, 1, 1, tzinfo=UTC)
EVAL_ID = uuid.UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
NEW = Charge(EVAL_ID, "org-1", State.RESERVING, most=10, hold_s=3600)
LOST = Failed("no answer")
NOT_SENT = Failed("no connection", sent=False)


def test_a_price_is_rounded_up_and_nothing_costs_nothing() -> None:
    assert [price_of(n, 5) for n in (0, 1, 200, 201, 1000, 1001)] == [0, 1, 1, 2, 5, 6]


def test_a_key_is_a_uuid_v4_that_only_the_evaluation_and_the_call_make() -> None:
    keys = [key_of(EVAL_ID, call) for call in Call] + [key_of(uuid.UUID(int=1), call) for call in Call]
    assert len(set(keys)) == 6
    assert {uuid.UUID(key).version for key in keys} == {4}
    assert keys[:3] == [key_of(EVAL_ID, call) for call in Call]


def test_a_lost_answer_to_a_reserve_is_looked_up_by_the_same_call_and_cancelled() -> None:
    lost = after(NEW, Call.RESERVE, LOST)
    assert (lost.state, next_call(lost)) == (State.CANCELLING, Call.RESERVE)
    found = after(lost, Call.RESERVE, Held(EVAL_ID, UNTIL))
    assert (found.state, next_call(found)) == (State.CANCELLING, Call.CANCEL)
    assert after(found, Call.CANCEL, Moved()).state is State.CANCELLED


def test_a_reserve_that_certainly_held_nothing_is_not_made_again_to_cancel_it() -> None:
    ended = after(NEW, Call.RESERVE, NOT_SENT)
    assert (ended.state, next_call(ended), ended.problem) == (State.CANCELLED, None, "no connection")
    unknown = after(after(NEW, Call.RESERVE, LOST), Call.RESERVE, NOT_SENT)
    assert (unknown.state, next_call(unknown)) == (State.CANCELLING, Call.RESERVE), "it says nothing of the first"


@pytest.mark.parametrize(("state", "call"), [("committed", Call.COMMIT), ("cancelled", Call.CANCEL)])
def test_a_hold_that_was_ended_as_asked_is_settled_when_the_ledger_has_forgotten_the_key(
    state: str, call: Call
) -> None:
    pending = replace(NEW, state=State.COMMITTING if call is Call.COMMIT else State.CANCELLING, reservation_id=EVAL_ID)
    assert after(pending, call, Closed(state)).state == state


@pytest.mark.parametrize(
    ("state", "call", "end"),
    [
        (State.COMMITTING, Call.COMMIT, State.LAPSED),
        (State.CANCELLING, Call.CANCEL, State.CANCELLED),
    ],
)
def test_a_hold_that_ended_by_itself_is_a_loss_only_where_something_is_owed(
    state: State, call: Call, end: State
) -> None:
    pending = replace(NEW, state=state, reservation_id=EVAL_ID)
    other = after(pending, call, Closed("expired"))
    assert (other.state, other.problem) == (end, "the hold was expired before")
    assert after(pending, call, Unknown()).state is end
    assert given_up(pending).state is end


@pytest.mark.parametrize(
    ("charge", "call", "outcome"),
    [(NEW, Call.RESERVE, Moved()), (replace(NEW, state=State.COMMITTING), Call.COMMIT, Insufficient(1, 2))],
)
def test_an_outcome_of_another_call_is_an_error(charge: Charge, call: Call, outcome: Outcome) -> None:
    with pytest.raises(ValueError, match="is no outcome"):
        after(charge, call, outcome)


def test_judging_must_be_done_while_credits_are_held() -> None:
    soon = replace(NEW, state=State.HELD, hold_until=datetime.now(UTC) + timedelta(seconds=MARGIN_S + 100))
    assert 99 < time_left_s(soon, 300.0) <= 100
    assert time_left_s(replace(soon, hold_until=datetime.now(UTC)), 300.0) == 0
    assert time_left_s(None, 300.0) == 300


@dataclass
class LedgerModel:
    """The credits service as its page describes it, for one tenant, obviously right."""

    available: int
    answers: dict[str, Outcome] = field(default_factory=dict)
    holds: dict[uuid.UUID, tuple[str, int]] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)

    def make(self, charge: Charge, call: Call) -> Outcome:
        key = key_of(charge.eval_id, call)
        if key not in self.answers:
            outcome = self.reserve(charge) if call is Call.RESERVE else self.close(charge, call)
            if isinstance(outcome, Held | Insufficient | Moved):
                self.answers[key] = outcome
            return outcome
        return self.answers[key]

    def reserve(self, charge: Charge) -> Outcome:
        if charge.most > self.available:
            return Insufficient(self.available, charge.most)
        self.available -= charge.most
        made = uuid.uuid5(EVAL_ID, str(len(self.holds)))
        self.holds[made] = ("held", charge.most)
        return Held(made, UNTIL)

    def close(self, charge: Charge, call: Call) -> Outcome:
        assert charge.reservation_id is not None
        state, amount = self.holds[charge.reservation_id]
        if state != "held":
            return Closed(state)
        taken = charge.owed if call is Call.COMMIT else 0
        self.holds[charge.reservation_id] = ("committed" if taken else "cancelled", amount)
        self.available += amount - taken
        self.taken += [taken] if taken else []
        return Moved()

    def pass_time(self) -> None:
        """Long enough that holds expire and keys are forgotten."""
        for made, (state, amount) in self.holds.items():
            if state == "held":
                self.holds[made] = ("expired", amount)
                self.available += amount
        self.answers.clear()


@dataclass
class Life:
    """`charge` is what is stored: a crash loses an outcome, and whoever comes next begins from there."""

    ledger: LedgerModel
    owed: int
    charge: Charge = NEW
    days: int = 0
    asked: bool = False

    def answered(self) -> None:
        if self.charge.state is State.HELD:
            self.charge = replace(self.charge, state=State.COMMITTING, owed=self.owed)

    def ended(self) -> None:
        if self.charge.state in (State.RESERVING, State.HELD):
            self.charge = replace(self.charge, state=State.CANCELLING)

    def day(self) -> None:
        if self.charge.state is State.RESERVING:
            return  # nobody waits a day for the first answer
        self.ledger.pass_time()
        self.days += 1
        if self.charge.state is State.CANCELLING and self.charge.reservation_id is None:
            self.charge = given_up(self.charge)

    def called(self) -> None:
        call = next_call(self.charge)
        if call is not None:
            self.charge = after(self.charge, call, self.ledger.make(self.charge, call))

    def answer_lost(self) -> None:
        call = next_call(self.charge)
        if call is not None:
            self.asked = True
            self.ledger.make(self.charge, call)

    def call_not_sent(self) -> None:
        call = next_call(self.charge)
        # who dies during the first call does not make it again: the sweep does, once it is to be cancelled
        if call is not None and not (self.charge.state is State.RESERVING and self.asked):
            self.charge = after(self.charge, call, NOT_SENT)

    def call_lost(self) -> None:
        call = next_call(self.charge)
        if call is not None:
            self.charge = after(self.charge, call, LOST)

    def come_to_an_end(self) -> None:
        self.ended()  # where its process is gone, the sweep finds it
        while next_call(self.charge) is not None:
            self.called()


EVENTS = st.lists(
    st.sampled_from(
        [Life.answered, Life.ended, Life.day, Life.called, Life.answer_lost, Life.call_lost, Life.call_not_sent]
    ),
    max_size=40,
)


@given(EVENTS, st.integers(0, 20), st.integers(1, 10))
def test_it_is_taken_once_or_not_at_all_through_any_order_of_faults(
    events: list[Callable[[Life], None]], funds: int, owed: int
) -> None:
    ledger = LedgerModel(funds)
    life = Life(ledger, owed)
    for event in events:
        event(life)
    life.come_to_an_end()
    assert life.charge.state in ENDS
    assert ledger.taken == ([owed] if life.charge.state is State.COMMITTED else [])
    assert all(state != "held" for state, _ in ledger.holds.values())
    assert ledger.available == funds - sum(ledger.taken)
    assert life.charge.state is not State.LAPSED or (life.days and life.charge.owed)
