from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx_runtime.backup.retention import Candidate, Rules, clock_problem, days_to_prune, decide

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Rules(timedelta(days=30))
SIZE = 100


def copy(days_old: float, *, verified: bool = True, name: str = "") -> Candidate:
    return Candidate(name or f"b{days_old}", NOW - timedelta(days=days_old), SIZE, verified)


def pruned(candidates: list[Candidate], now: datetime = NOW) -> list[str]:
    return [d.backup_id for d in decide(candidates, RULES, now) if d.prune]


def test_only_what_is_older_than_the_rule_goes() -> None:
    copies = [copy(31), copy(30), copy(29), copy(2), copy(1)]
    assert pruned(copies) == ["b31"]


def test_the_last_verified_copies_stay_whatever_their_age() -> None:
    assert pruned([copy(300), copy(200), copy(100)]) == ["b300"]
    assert pruned([copy(100)]) == []


def test_copies_that_are_not_verified_push_nothing_out() -> None:
    assert pruned([copy(100), copy(90), copy(1, verified=False), copy(0.5, verified=False)]) == []


def test_an_old_copy_that_is_not_verified_goes_when_newer_ones_are() -> None:
    assert pruned([copy(100, verified=False), copy(2), copy(1)]) == ["b100"]


def test_a_copy_from_the_future_stays_and_proves_nothing() -> None:
    decisions = decide([copy(100), copy(90), copy(-5)], RULES, NOW)
    assert not any(d.prune for d in decisions)
    assert "in the future" in decisions[-1].reason


def test_each_decision_says_why() -> None:
    reasons = [d.reason for d in decide([copy(100), copy(2), copy(1)], RULES, NOW)]
    assert reasons == [
        "100 days old, kept for 30 days; b1 is newer and verified",
        "2 days old, kept for 30 days",
        "24.0 h old, kept for 30 days",
    ]


def test_a_clock_that_differs_from_the_destination_decides_nothing() -> None:
    assert clock_problem(NOW, NOW + timedelta(minutes=9)) == ""
    assert "nothing is pruned until they agree" in clock_problem(NOW + timedelta(days=40), NOW)


def test_rules_that_would_keep_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Rules(timedelta(days=30), keep_verified=0)


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        st.timedeltas(timedelta(days=-5), timedelta(days=200)).map(lambda age: NOW - age),
        st.just(SIZE),
        st.booleans(),
    ),
    max_size=40,
)


@given(CANDIDATES, st.integers(1, 90), st.integers(1, 3))
def test_no_decision_ever_takes_the_last_verified_copy(candidates: list[Candidate], days: int, least: int) -> None:
    rules = Rules(timedelta(days=days), least)
    decisions = {d.backup_id: d for d in decide(candidates, rules, NOW)}
    assert len(decisions) == len(candidates)
    left = [c for c in candidates if c.verified and not decisions[c.backup_id].prune]
    assert len(left) >= min(least, sum(c.verified for c in candidates))
    for candidate in candidates:
        if decisions[candidate.backup_id].prune:
            assert NOW - candidate.taken_at > rules.keep
            assert any(c.verified and c.taken_at > candidate.taken_at for c in left)
        assert decisions[candidate.backup_id].reason


@given(CANDIDATES)
def test_deciding_again_after_pruning_prunes_nothing_more(candidates: list[Candidate]) -> None:
    gone = set(pruned(candidates))
    assert pruned([c for c in candidates if c.backup_id not in gone]) == []


def test_sixty_days_of_backups_stay_within_the_retention() -> None:
    """Every 6 h a copy, a fifth of them never verified, a week in which nothing succeeds: growth is bounded."""
    begin, held, most = NOW, [], 0
    for hour in range(0, 60 * 24, 6):
        now = begin + timedelta(hours=hour)
        outage = 35 * 24 <= hour < 42 * 24
        if not outage:
            held.append(Candidate(f"b{hour:05}", now, SIZE, verified=hour % 30 != 0))
        gone = {d.backup_id for d in decide(held, RULES, now) if d.prune}
        held = [c for c in held if c.backup_id not in gone]
        most = max(most, len(held))
        if hour:
            assert any(c.verified for c in held)
    assert most <= 30 * 4 + 1
    assert min(c.taken_at for c in held) >= begin + timedelta(days=29)


def test_days_of_the_audit_log_go_when_they_are_over_and_no_dump_needs_them() -> None:
    days = [("20251101", 10), ("20251102", 20), ("20261123", 30), ("20261124", 40)]
    keep = timedelta(days=365)
    assert days_to_prune(days, 25, keep, NOW) == ["20251101", "20251102"]
    assert days_to_prune(days, 15, keep, NOW) == ["20251101"]
    assert days_to_prune(days, None, keep, NOW) == ["20251101", "20251102"]
    assert days_to_prune(days[:1], None, keep, NOW) == []
