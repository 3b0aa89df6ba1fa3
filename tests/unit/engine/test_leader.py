import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from shieldx_operator.engine import lease
from shieldx_operator.engine.client import ApiError, FencedError
from shieldx_operator.engine.leader import Elector
from shieldx_operator.engine.types import Obj, Ref, Resource

REF = Ref(lease.LEASES, "ns", "shieldx-operator")


@dataclass
class LeaseStore:
    """The API server as far as one Lease goes, with its optimistic concurrency."""

    stored: Obj | None = None
    version: int = 0
    away: bool = False

    async def get(self, _: Ref) -> Obj | None:
        self._answer()
        return self.stored

    async def create(self, _: Resource, __: str, body: Obj) -> Obj:
        self._answer()
        if self.stored is not None:
            raise ApiError(409, "AlreadyExists", "it exists")
        return self._store(body)

    async def replace(self, _: Ref, body: Obj) -> Obj:
        self._answer()
        assert self.stored is not None
        if body["metadata"].get("resourceVersion") != self.stored["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it changed")
        return self._store(body)

    def _answer(self) -> None:
        if self.away:
            raise ApiError(0, "Unreachable", "no route")

    def _store(self, body: Obj) -> Obj:
        self.version += 1
        self.stored = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return self.stored


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Process:
    store: LeaseStore
    clock: Clock
    name: str
    elector: Elector = field(init=False)

    def __post_init__(self) -> None:
        client: Any = self.store
        self.elector = Elector(client, REF, self.name, monotonic=self.clock)

    async def step(self) -> bool:
        """One turn of the loop; whether it leads."""
        try:
            await self.elector._step()
        except ApiError:
            self.elector._lease = None
        return self.elector.leading.is_set()


async def test_of_two_that_start_at_once_one_leads() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = Process(store, clock, "one"), Process(store, clock, "two")
    leads = await asyncio.gather(one.step(), two.step())
    assert sorted(leads) == [False, True]
    assert store.stored is not None
    assert store.stored["spec"]["holderIdentity"] == ("one" if leads[0] else "two")


async def test_a_dead_leader_is_replaced_within_its_lease_and_two_looks() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = Process(store, clock, "one"), Process(store, clock, "two")
    assert await one.step()
    dead_since_s = clock.now_s
    while not await two.step():
        clock.now_s += lease.LOOK_EVERY_S
        assert clock.now_s - dead_since_s < 20
    assert clock.now_s - dead_since_s > lease.LEASE_S


async def test_a_renewing_leader_is_never_replaced() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = Process(store, clock, "one"), Process(store, clock, "two")
    assert await one.step()
    for _ in range(100):
        clock.now_s += lease.RENEW_EVERY_S
        assert await one.step()
        assert not await two.step()


async def test_a_released_lease_is_taken_at_the_next_look() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = Process(store, clock, "one"), Process(store, clock, "two")
    await one.step()
    await two.step()
    await one.elector.release()
    assert await two.step()


async def test_a_leader_without_api_server_stops_writing_before_another_can_lead() -> None:
    store, clock = LeaseStore(), Clock()
    one = Process(store, clock, "one")
    await one.step()
    one.elector.fence()
    store.away = True
    clock.now_s += lease.RENEW_DEADLINE_S + 1
    await one.step()
    assert one.elector._is_lost()
    clock.now_s = 100 + lease.LEASE_S - lease.FENCE_MARGIN_S
    with pytest.raises(FencedError):
        one.elector.fence()


async def test_who_never_led_may_not_write() -> None:
    with pytest.raises(FencedError):
        Process(LeaseStore(), Clock(), "one").elector.fence()


async def test_a_leader_whose_lease_was_taken_knows_it() -> None:
    store, clock = LeaseStore(), Clock()
    one, two = Process(store, clock, "one"), Process(store, clock, "two")
    await one.step()
    await two.step()
    clock.now_s += lease.LEASE_S + 1
    assert await two.step()
    await one.step()  # its renewal meets a newer version
    await one.step()  # and it reads who holds the lease
    assert one.elector._is_lost()
