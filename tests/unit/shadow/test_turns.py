"""Tenants take turns, and a full queue says so."""

import asyncio

import pytest

from shieldx_runtime.shadow.service.turns import FullError, Turns


async def test_a_tenant_with_many_delays_nobody_elses_first() -> None:
    turns: Turns[str] = Turns(places=10, places_each=5)
    for item in ("a1", "a2", "a3"):
        turns.put("a", item)
    turns.put("b", "b1")
    turns.put("c", "c1")
    assert [await turns.get() for _ in range(5)] == ["a1", "b1", "c1", "a2", "a3"]
    assert len(turns) == 0


async def test_places_are_bounded_in_all_and_for_each() -> None:
    turns: Turns[int] = Turns(places=3, places_each=2)
    turns.put("a", 1)
    turns.put("a", 2)
    with pytest.raises(FullError):
        turns.put("a", 3)
    turns.put("b", 4)
    with pytest.raises(FullError):
        turns.put("c", 5)
    await turns.get()
    turns.put("c", 5)


async def test_who_waits_is_woken_by_what_comes() -> None:
    turns: Turns[int] = Turns(places=3, places_each=2)
    waiting = [asyncio.create_task(turns.get()) for _ in range(2)]
    await asyncio.sleep(0)
    turns.put("a", 1)
    turns.put("b", 2)
    async with asyncio.timeout(5):
        assert sorted(await asyncio.gather(*waiting)) == [1, 2]
