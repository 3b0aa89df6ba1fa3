import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bench.operator.widget import widgets
from shieldx_operator.engine.client import ApiError
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.reconcile import Outcome
from shieldx_operator.engine.types import Ref
from shieldx_operator.engine.workers import Workers

RESOURCE = widgets("g.shieldx.io")


def ref(name: str) -> Ref:
    return Ref(RESOURCE, "n", name)


def workers(reconcile: Callable[[Ref], Awaitable[Outcome]], count: int = 2) -> Workers:
    return Workers(reconcile, Metrics(), count=count, resync_s=1000, random=lambda: 0.5)


async def test_an_object_that_never_ends_delays_no_other() -> None:
    done: set[str] = set()
    all_done = asyncio.Event()

    async def reconcile(key: Ref) -> Outcome:
        if key.name == "stuck":
            await asyncio.Event().wait()
        done.add(key.name)
        if len(done) == 5:
            all_done.set()
        return Outcome("unchanged")

    made = workers(reconcile)
    made.start()
    made.add(ref("stuck"))
    for n in range(5):
        made.add(ref(f"w{n}"))
    async with asyncio.timeout(2):
        await all_done.wait()
    assert not await made.stop(timeout_s=0.05)


async def test_no_object_is_worked_on_twice_at_once() -> None:
    running, most = 0, 0

    async def reconcile(_: Ref) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return Outcome("unchanged")

    made = workers(reconcile, count=4)
    made.start()
    for _ in range(10):
        made.add(ref("w"))
        await asyncio.sleep(0.005)
    assert await made.stop(timeout_s=2)
    assert most == 1


async def test_stopping_ends_what_runs_and_takes_nothing_more() -> None:
    done: list[str] = []

    async def reconcile(key: Ref) -> Outcome:
        await asyncio.sleep(0.1)
        done.append(key.name)
        return Outcome("unchanged")

    made = workers(reconcile, count=1)
    made.start()
    made.add(ref("first"))
    made.add(ref("second"))
    await asyncio.sleep(0.02)
    assert await made.stop(timeout_s=2)
    assert done == ["first"]
    assert made.dead == []


@contextlib.asynccontextmanager
async def after_a_look(outcome: Outcome | ApiError) -> AsyncIterator[Workers]:
    """Workers that have looked once at `w`, and what came of it."""

    async def reconcile(_: Ref) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    made = workers(reconcile)
    made.start()
    made.add(ref("w"))
    await asyncio.sleep(0.05)
    yield made
    await made.stop(timeout_s=1)


def due_in_s(made: Workers) -> float:
    due_s = made.queue.next_due_s(made.monotonic())
    assert due_s is not None
    return due_s - made.monotonic()


@pytest.mark.parametrize("outcome", [Outcome("failed", retry=True), ApiError(500, "InternalError", "x")])
async def test_a_failed_look_is_repeated_with_backoff(outcome: Outcome | ApiError) -> None:
    async with after_a_look(outcome) as made:
        assert 0.5 < due_in_s(made) < 2.1


async def test_a_settled_object_is_looked_at_again_after_the_resync_period() -> None:
    async with after_a_look(Outcome("unchanged")) as made:
        assert 990 < due_in_s(made) < 1001


async def test_an_object_that_is_gone_is_forgotten() -> None:
    async with after_a_look(Outcome("gone")) as made:
        assert len(made.queue) == 0


async def test_a_fault_on_one_object_takes_no_worker_from_the_others() -> None:
    done = asyncio.Event()

    async def reconcile(key: Ref) -> Outcome:
        if key.name == "broken":
            raise KeyError("a fault in the engine itself")
        done.set()
        return Outcome("unchanged")

    made = workers(reconcile, count=1)
    made.start()
    made.add(ref("broken"))
    made.add(ref("w"))
    async with asyncio.timeout(2):
        await done.wait()
    assert made.dead == []
    await made.stop(timeout_s=1)


async def test_a_worker_that_ended_is_named() -> None:
    async def reconcile(_: Ref) -> Outcome:
        return Outcome("unchanged")

    made = workers(reconcile, count=1)
    made.start()
    made._tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert made.dead == ["worker 0"]
    await made.stop(timeout_s=1)
