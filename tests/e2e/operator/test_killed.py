"""The leading operator is killed at random moments of a life, and the end is the same as if nothing had happened."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shieldx_operator.blocks.resources import POD
from shieldx_operator.engine.types import Obj, Ref
from tests.e2e.operator import compare
from tests.e2e.operator.life import BOUGHT, Disturb, Life
from tests.e2e.operator.release import SYSTEM, Release
from tests.e2e.operator.site import Site
from tests.e2e.waiting import until

SEED = 20260
KILLS = {"create": 2, "update": 2, "delete the tenant": 1, "delete the service": 1}
MOST_S = {"create": 8.0, "update": 8.0, "delete the tenant": 0.3, "delete the service": 1.0}
"""Kills come at any moment up to this many seconds after the change, or after the takeover before."""
EARLY = 0.5
"""Share of the first kills that come within the first tenth of that time, when most is written."""
TAKEOVER_S = 20.0
PURCHASE = "00000000-0000-4000-8000-000000000003"


def killer(release: Release, takeovers_s: list[float], seed: int) -> Disturb:
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets

    @contextmanager
    def disturb(change: str) -> Iterator[None]:
        for number in range(KILLS[change]):
            share = 0.1 if number == 0 and chance.random() < EARLY else 1.0
            moment_s = chance.uniform(0, MOST_S[change] * share)
            leader = release.with_standby()
            with release.ended_soon(leader, "SIGKILL", after_s=moment_s) as kill:
                if number == 0:
                    yield
            took_s = kill.takeover_s()
            takeovers_s.append(took_s)
            release.site.tell(f"kill -9 {moment_s:.2f} s into {change}: the other led after {took_s:.1f} s")

    return disturb


@pytest.fixture(scope="module")
def takeovers_s() -> list[float]:
    return []


@pytest.fixture(scope="module")
def wild(site: Site, calm: Life, any_release: Release, takeovers_s: list[float]) -> Life:  # noqa: ARG001 - calm first
    """The same life as the calm one, with kills. A purchase in between must be found at the end."""
    any_release.ensure()
    disturb = killer(any_release, takeovers_s, SEED)
    life = Life(site, "shieldx-e2e-operator-wild", disturb)
    life.create()
    assert life.buy(PURCHASE)[0] == 200
    life.update()
    life.delete()
    return life


@pytest.mark.parametrize("stage", ["created", "updated", "deleted"])
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(wild: Life, calm: Life, stage: str) -> None:
    assert compare.difference(calm.snapshots[stage], wild.snapshots[stage]) == []


def test_nothing_is_orphaned_by_a_kill(wild: Life) -> None:
    assert wild.orphans == {"created": set(), "updated": set()}


def test_the_other_takes_over_within_twenty_seconds_of_a_kill(wild: Life, takeovers_s: list[float]) -> None:
    assert wild.snapshots
    assert len(takeovers_s) == sum(KILLS.values())
    assert max(takeovers_s) <= TAKEOVER_S, takeovers_s


def test_a_new_object_of_the_same_name_finds_the_ledger_and_the_keys_of_the_old(wild: Life) -> None:
    again = Life(wild.site, wild.namespace)
    again.create()
    assert again.balance() == BOUGHT
    assert again.buy(PURCHASE)[0] == 200, "the same purchase again is a replay"
    assert again.balance() == BOUGHT
    again.delete()


def test_exactly_one_leads(release: Release) -> None:
    leader = release.with_standby()
    assert release.leading() == [leader]
    assert release.holder().startswith(f"{leader}_")


def test_told_to_end_it_hands_over_at_once(site: Site, release: Release) -> None:
    leader = release.with_standby()
    pod = Ref(POD, SYSTEM, leader)
    starts = site.there(pod)["status"]["containerStatuses"][0]["restartCount"]
    with release.ended_soon(leader, "SIGTERM") as told:
        pass
    took_s = told.takeover_s()
    site.tell(f"SIGTERM to the leader: another led after {took_s:.1f} s")
    assert took_s <= 6

    def ended() -> Obj | None:
        state = site.there(pod)["status"]["containerStatuses"][0]
        return state if state["restartCount"] > starts else None

    assert until("the container was started again", ended, 30)["lastState"]["terminated"]["exitCode"] == 0
