from collections.abc import Sequence
from datetime import UTC, datetime

from shieldx_operator.engine.conditions import (
    MAX_MESSAGE_CHARS,
    at_first_sight,
    completed,
    of_stall,
    same_status,
    shortened,
    transitions,
    written,
)
from shieldx_operator.engine.types import Condition, Failure, Stall

THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
READY = Condition("Ready", "True", "Running", "")
NOT_READY = Condition("Ready", "False", "Broken", "x is broken")


def by_type(conditions: Sequence[Condition]) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in conditions}


def test_the_transition_time_is_kept_while_the_status_is() -> None:
    before = written([READY], [], 1, THEN)
    same = written([Condition("Ready", "True", "Other", "new words")], before, 2, NOW)[0]
    assert (same["lastTransitionTime"], same["observedGeneration"]) == ("2026-01-01T00:00:00Z", 2)
    assert written([NOT_READY], before, 2, NOW)[0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"


def test_an_object_is_never_ready_while_something_failed() -> None:
    failure = Failure("ConfigMap n/c", "Forbidden", "exceeded quota")
    ready = {c.type: c for c in completed([READY], [failure])}["Ready"]
    assert (ready.status, ready.reason, ready.message) == ("False", "Forbidden", "ConfigMap n/c: exceeded quota")


def test_a_kind_that_says_why_it_is_not_ready_is_not_overruled() -> None:
    told = completed([NOT_READY], [Failure("a", "B", "c")])
    assert by_type(told)["Ready"] == ("False", "Broken")


def test_what_a_kind_leaves_unsaid_follows_from_ready() -> None:
    assert by_type(completed([READY], [])) == {
        "Ready": ("True", "Running"),
        "Reconciling": ("False", "Running"),
        "Stalled": ("False", "Running"),
    }
    assert by_type(completed([NOT_READY], []))["Reconciling"] == ("True", "Broken")


def test_a_stalled_object_is_not_reconciling() -> None:
    stalled = Condition("Stalled", "True", "Refused", "change it")
    assert by_type(completed([NOT_READY, stalled], []))["Reconciling"] == ("False", "Broken")


def test_conditions_of_components_are_kept_as_given() -> None:
    component = Condition("DatabaseReady", "Unknown", "Starting", "soon")
    assert component in completed([READY, component], [])


def test_a_status_in_another_order_is_the_same() -> None:
    one = written([READY, *at_first_sight()[1:]], [], 1, NOW)
    assert same_status({"conditions": one, "inventory": []}, {"conditions": one[::-1]})
    assert not same_status({"conditions": one}, {"conditions": one[:2]})


def test_the_first_sight_is_no_transition_and_becoming_ready_is_one() -> None:
    first = written(at_first_sight(), [], 1, THEN)
    assert transitions([], first) == []
    ready = transitions(first, written(completed([READY], []), first, 1, NOW))
    assert [(t.type, t.status, t.worse) for t in ready] == [("Ready", "True", False)]


def test_a_stall_is_told_as_a_worsening() -> None:
    before = written(completed([READY], []), [], 1, THEN)
    told = transitions(before, written(of_stall(Stall("Refused", "change x")), before, 1, NOW))
    assert [(t.type, t.status, t.worse) for t in told] == [("Ready", "False", True), ("Stalled", "True", True)]


def test_what_is_not_true_yet_is_no_worsening_and_what_was_true_or_fails_is_one() -> None:
    first = written(at_first_sight(), [], 1, THEN)
    waiting = written(completed([NOT_READY], []), first, 1, NOW)
    assert [(t.type, t.worse) for t in transitions(first, waiting)] == [("Ready", False)]
    assert [(t.type, t.worse) for t in transitions(first, waiting, failing=True)] == [("Ready", True)]
    served = written(completed([READY], []), first, 1, THEN)
    assert [(t.type, t.worse) for t in transitions(served, waiting)] == [("Ready", True)]


def test_another_reason_for_not_being_ready_is_a_transition() -> None:
    before = written(completed([NOT_READY], []), [], 1, THEN)
    other = completed([Condition("Ready", "False", "ImagePullFailed", "no such image")], [])
    assert [t.reason for t in transitions(before, written(other, before, 1, NOW))] == ["ImagePullFailed"]


def test_the_same_conditions_again_are_no_transition() -> None:
    before = written(completed([NOT_READY], []), [], 1, THEN)
    assert transitions(before, before) == []


def test_a_long_message_keeps_both_ends() -> None:
    message = shortened("a" * 5000 + "the server's last words")
    assert len(message) <= MAX_MESSAGE_CHARS
    assert message.startswith("aaa")
    assert message.endswith("last words")


def test_what_no_repetition_mends_is_stalled() -> None:
    wrong = Failure("ConfigMap n/c", "Invalid", "spec.x must be 1", retryable=False)
    again = Failure("ConfigMap n/d", "Timeout", "no answer")
    assert by_type(completed([READY], [wrong]))["Stalled"] == ("True", "Invalid")
    assert by_type(completed([READY], [wrong]))["Reconciling"] == ("False", "Invalid")
    assert by_type(completed([READY], [again, wrong]))["Stalled"] == ("False", "Timeout")
