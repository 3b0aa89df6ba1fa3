"""Circuit breakers before a real PostgreSQL and a real Redis that can be cut off; the metric tells their state.

The breakers' clock is the test's own: how long one stays open is no question of how busy the machine is.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from shieldx_runtime.core import cache as cache_module
from shieldx_runtime.core import database as database_module
from shieldx_runtime.core.breaker import Breaker
from shieldx_runtime.core.cache import Cache, Entry
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.settings import DatabaseSettings
from tests.integration.gate import Gate
from tests.integration.harness import Stack, new_tenant_id

CLOSED, HALF_OPEN, OPEN = 0.0, 1.0, 2.0
LONG_S = 1.3
"""More than a breaker stays open, jitter and all."""
SHORT_S = 0.7
AT_ONCE_S = 0.05
PATIENCE_S = 3.0
"""For a call on a busy machine."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Side:
    """A breaker, what it stands before, and a call; `wrong` is one that is answered and cannot be done."""

    threshold: int
    gate: Gate
    clock: Clock
    metrics: Metrics
    call: Callable[[], Awaitable[bool]]
    wrong: Callable[[], Awaitable[None]]
    name: str

    @property
    def state(self) -> float:
        found = re.search(rf'breaker_state{{dependency="{self.name}"}} (\S+)', self.metrics.exposition()[0].decode())
        assert found
        return float(found[1])

    async def fail(self, times: int) -> None:
        for _ in range(times):
            assert not await self.call()

    async def opened(self) -> None:
        """Opens the breaker."""
        await self.gate.shut()
        await self.fail(self.threshold)
        assert self.state == OPEN


async def postgresql(exits: AsyncExitStack, stack: Stack, folder: Path, timeout_s: float) -> Side:
    gate, clock, metrics = Gate(stack.postgres.port), Clock(), Metrics()
    exits.push_async_callback(gate.shut)
    await gate.open()
    uri_file = folder / f"database-uri-{gate.port}"
    uri_file.write_text(stack.postgres.service_uri("credits").replace(str(stack.postgres.port), str(gate.port)))
    breaker = Breaker("postgresql", threshold=5, open_s=1.0, clock=clock)
    metrics.watch(breaker)
    database = Database(DatabaseSettings(uri_file, pool_max_size=1, request_timeout_s=timeout_s), breaker)
    await database.open()
    assert database._keeper
    database._keeper.cancel()  # only the test's own calls count
    exits.push_async_callback(database.close)

    async def call() -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                return bool((await database.fetch_row("SELECT 1 AS one"))["one"])
        except (DatabaseUnavailableError, TimeoutError):
            return False

    async def wrong() -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.fetch("SELECT 1 / 0")

    return Side(5, gate, clock, metrics, call, wrong, "postgresql")


async def redis(exits: AsyncExitStack, stack: Stack, folder: Path, timeout_s: float) -> Side:
    gate, clock, metrics = Gate(stack.redis.port), Clock(), Metrics()
    exits.push_async_callback(gate.shut)
    await gate.open()
    uri_file = folder / f"cache-uri-{gate.port}"
    uri_file.write_text(stack.redis.uri.replace(str(stack.redis.port), str(gate.port)))
    with pytest.MonkeyPatch.context() as patch:
        # what the client itself waits; see also `side`
        patch.setattr(cache_module, "_CALL_TIMEOUT_S", timeout_s)
        cache = Cache(uri_file, ttl_s=60, metrics=metrics)
    cache.breaker._clock = clock
    exits.push_async_callback(cache.close)

    async def call() -> bool:
        return await cache.put([Entry(f"breaker:{new_tenant_id()}", 1, "x")])

    async def wrong() -> None:
        key = f"breaker:{new_tenant_id()}"
        await cache._redis.lpush(key, "x")
        assert await cache.get(key) is None

    return Side(3, gate, clock, metrics, call, wrong, "redis")


@pytest.fixture(params=[postgresql, redis], ids=["postgresql", "redis"])
async def side(
    request: pytest.FixtureRequest, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Side]:
    """One that has answered once: so it is connected."""
    hangs = "hangs" in request.node.name
    patience_s = 0.3 if hangs else PATIENCE_S
    monkeypatch.setattr(cache_module, "_CALL_TIMEOUT_S", patience_s)
    async with AsyncExitStack() as exits:
        made: Side = await request.param(exits, stack, tmp_path, patience_s)
        for _ in range(20):
            if await made.call():
                break
        assert made.state == CLOSED
        yield made


async def timed(call: Awaitable[bool]) -> tuple[bool, float]:
    began = time.monotonic()
    return await call, time.monotonic() - began


async def test_it_is_closed_while_it_is_answered(side: Side) -> None:
    assert all([await side.call() for _ in range(20)])
    assert side.state == CLOSED


async def test_fewer_failures_in_a_row_than_its_threshold_leave_it_closed(side: Side) -> None:
    for _ in range(2):
        await side.gate.shut()
        await side.fail(side.threshold - 1)
        assert side.state == CLOSED
        await side.gate.open()
        assert await side.call()


async def test_as_many_failures_as_its_threshold_open_it(side: Side) -> None:
    await side.gate.shut()
    await side.fail(side.threshold - 1)
    assert side.state == CLOSED
    await side.fail(1)
    assert side.state == OPEN


@pytest.mark.parametrize("connected", [True, False])
async def test_a_server_that_hangs_opens_it_and_is_then_not_waited_for(
    side: Side, connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so long a connection that does not answer may take to be given up, after its caller went
    monkeypatch.setattr(database_module, "_RELEASE_TIMEOUT_S", 0.1)
    if connected:
        side.gate.hang()
    else:
        await side.gate.open(silent=True)
    for _ in range(4 * side.threshold):
        await side.fail(1)
        if side.state == OPEN:
            break
    assert side.state == OPEN
    answers = [await timed(side.call()) for _ in range(10)]
    assert [answered for answered, _ in answers] == [False] * 10
    assert sorted(took_s for _, took_s in answers)[5] < AT_ONCE_S


async def test_while_it_is_open_nothing_reaches_the_server_that_is_back(side: Side) -> None:
    await side.opened()
    await side.gate.open()
    before = side.gate.came
    side.clock.now += SHORT_S
    await side.fail(10)
    assert (side.gate.came, side.state) == (before, OPEN)


async def test_after_its_time_it_is_half_open_until_somebody_tries(side: Side) -> None:
    await side.opened()
    side.clock.now += LONG_S
    assert side.state == HALF_OPEN


async def test_half_open_lets_one_call_through_even_to_a_server_that_hangs(side: Side) -> None:
    await side.opened()
    await side.gate.open(silent=True)
    before = side.gate.came
    side.clock.now += LONG_S
    answers = await asyncio.gather(*[timed(side.call()) for _ in range(10)])
    assert [answered for answered, _ in answers] == [False] * 10
    assert side.gate.came == before + 1
    assert side.state == OPEN


async def test_a_probe_that_is_answered_closes_it_for_all(side: Side) -> None:
    await side.opened()
    await side.gate.open()
    side.clock.now += LONG_S
    assert await side.call()
    assert side.state == CLOSED
    assert all(await asyncio.gather(*[side.call() for _ in range(10)]))


async def test_a_probe_that_fails_opens_it_for_as_long_again(side: Side) -> None:
    await side.opened()
    side.clock.now += LONG_S
    await side.fail(1)
    assert side.state == OPEN
    await side.gate.open()
    side.clock.now += SHORT_S
    await side.fail(3)
    side.clock.now += LONG_S - SHORT_S
    assert side.state == HALF_OPEN
    assert await side.call()
    assert side.state == CLOSED


async def test_a_probe_whose_caller_gives_up_lets_another_try_at_once(side: Side) -> None:
    await side.opened()
    await side.gate.open(silent=True)
    before = side.gate.came
    side.clock.now += LONG_S
    probe = asyncio.ensure_future(side.call())
    while side.gate.came == before:  # noqa: ASYNC110 - what it waits for is a connection
        await asyncio.sleep(0.01)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await side.gate.open()
    assert side.state == HALF_OPEN
    assert await side.call()
    assert side.state == CLOSED


async def test_what_the_server_refuses_is_no_failure_of_it(side: Side) -> None:
    for _ in range(2 * side.threshold):
        await side.wrong()
    assert side.state == CLOSED
    assert await side.call()


async def test_a_replica_that_is_cut_off_opens_its_own_and_nobody_elses(
    side: Side, stack: Stack, tmp_path: Path
) -> None:
    make = postgresql if side.name == "postgresql" else redis
    async with AsyncExitStack() as exits:
        other = await make(exits, stack, tmp_path, PATIENCE_S)
        assert await other.call()
        await side.opened()
        assert (side.state, other.state) == (OPEN, CLOSED)
        assert await other.call()
