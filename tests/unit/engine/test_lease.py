from datetime import UTC, datetime
from typing import Any

from shieldx_operator.engine import lease

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def held_by(holder: str, renewed: str = "t1", duration_s: int = 15) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": holder, "renewTime": renewed,
            "leaseDurationSeconds": duration_s, "leaseTransitions": 3}}  # fmt: skip


def step(found: dict[str, Any] | None, since_s: float, now_s: float) -> str:
    return lease.next_step(found, lease.sight(found, None, since_s), "me", now_s)


def test_a_lease_that_is_not_there_is_created() -> None:
    assert step(None, 0, 0) == "create"


def test_the_holder_renews() -> None:
    assert step(held_by("me"), 0, 100) == "renew"


def test_anothers_lease_is_waited_for_until_it_has_not_changed_for_its_whole_duration() -> None:
    other = held_by("other")
    assert step(other, 100, 115) == "wait"
    assert step(other, 100, 115.1) == "take"


def test_a_renewal_by_the_other_starts_the_wait_anew_whatever_its_clock_says() -> None:
    first = lease.sight(held_by("other", "1970"), None, 0)
    second = lease.sight(held_by("other", "1971"), first, 14)
    assert lease.next_step(held_by("other", "1971"), second, "me", 20) == "wait"
    unchanged = lease.sight(held_by("other", "1971"), second, 28)
    assert lease.next_step(held_by("other", "1971"), unchanged, "me", 29.5) == "take"


def test_a_released_lease_is_taken_at_once() -> None:
    found = lease.released(held_by("other"), NOW)
    assert step(found, 0, 0) == "take"


def test_taking_keeps_the_version_so_that_only_one_of_two_succeeds() -> None:
    taken = lease.held(held_by("other"), "me", NOW)
    assert taken["metadata"]["resourceVersion"] == "7"
    assert taken["spec"]["holderIdentity"] == "me"
    assert taken["spec"]["leaseTransitions"] == 4


def test_a_renewal_is_no_transition() -> None:
    assert lease.held(held_by("me"), "me", NOW)["spec"]["leaseTransitions"] == 3


def test_a_leader_gives_up_and_stops_writing_before_another_may_take_over() -> None:
    assert not lease.must_give_up(0, 10)
    assert lease.must_give_up(0, 10.1)
    assert lease.may_write(0, 12.9)
    assert not lease.may_write(0, 13)
    assert lease.RENEW_DEADLINE_S < lease.LEASE_S - lease.FENCE_MARGIN_S < lease.LEASE_S


def test_a_takeover_takes_at_most_twenty_seconds() -> None:
    assert lease.LEASE_S + 2 * lease.LOOK_EVERY_S < 18
