"""Balances from Redis: a writer sees its own write, another replica an old answer for no longer than the lifetime."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from shieldx_runtime.core.cache import Cache
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.credits.balances import BalanceCache, Floors, Local
from shieldx_runtime.credits.model import Account
from tests.integration.harness import Api, Stack, new_tenant_id, text_in


@pytest.fixture
def store(stack: Stack) -> Iterator["redis.Redis"]:
    client = redis.Redis.from_url(stack.redis.uri)
    yield client
    client.close()


def _entry(store: "redis.Redis", tenant_id: str) -> bytes:
    (key,) = store.keys(f"shieldx:credits:*:balance:{tenant_id}")
    assert isinstance(key, bytes)
    assert 0 < store.ttl(key) <= 60
    return key


def _hit_rate(stack: Stack) -> float:
    match = re.search(r"^credits_cache_hit_rate (\S+)$", stack.service.metrics(), re.MULTILINE)
    assert match
    return float(match[1])


def test_a_balance_is_read_from_redis_by_a_process_that_has_not_got_it(
    api: Api, replica: Api, stack: Stack, store: "redis.Redis"
) -> None:
    tenant_id = api.tenant(10)
    key = _entry(store, tenant_id)
    store.set(key, text_in(store, key).replace(b'"balance":10', b'"balance":11'), keepttl=True)
    assert replica.balance(tenant_id).json()["balance"] == 11
    # and from its own memory after that
    store.delete(key)
    assert replica.balance(tenant_id).json()["balance"] == 11
    assert api.balance(tenant_id).json()["balance"] == 10
    assert api.balance(api.tenant()).json()["balance"] == 0
    assert 0 < _hit_rate(stack) < 1


def test_a_write_is_seen_by_its_writer_at_once_and_by_any_replica_with_the_news_of_it(api: Api, replica: Api) -> None:
    tenant_id = api.tenant(100)
    for spent in range(1, 21):
        writer, reader = (api, replica) if spent % 2 else (replica, api)
        assert writer.consume(tenant_id, 1).status_code == 200
        assert writer.balance(tenant_id).json()["balance"] == 100 - spent
        deadline_s = time.monotonic() + 5  # far below the 30 s that an answer may be old
        while (seen := reader.balance(tenant_id).json()["balance"]) != 100 - spent:
            assert seen == 100 - spent + 1, "an answer may be late, and never one that was not so"
            assert time.monotonic() < deadline_s


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"9|rubbish", b"9|{}", b"|", b"\xff|\xff", b"99"])
def test_rubbish_in_the_cache_costs_a_hit_and_nothing_else(
    api: Api, replica: Api, store: "redis.Redis", rubbish: bytes
) -> None:
    tenant_id = api.tenant(10)
    store.set(_entry(store, tenant_id), rubbish, ex=60)
    assert replica.balance(tenant_id).json()["balance"] == 10
    assert replica.consume(tenant_id, 1).status_code == 200
    assert replica.balance(tenant_id).json()["balance"] == 9


def test_a_wrong_type_in_the_cache_costs_a_hit_and_nothing_else(api: Api, replica: Api, store: "redis.Redis") -> None:
    tenant_id = api.tenant(10)
    key = _entry(store, tenant_id)
    store.delete(key)
    store.lpush(key, "x")
    assert replica.balance(tenant_id).json()["balance"] == 10
    assert replica.consume(tenant_id, 1).status_code == 200
    assert replica.balance(tenant_id).json()["balance"] == 9


def test_a_new_process_has_the_busiest_balances_in_memory_before_it_is_ready(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(10)
    with ExitStack() as exits:
        process = stack.replica(exits)
        fresh = Api(process.url, stack.admin_key)
        exits.callback(fresh.close)
        assert fresh.balance(tenant_id).json()["balance"] == 10
        assert 'credits_cache_reads_total{result="hit",tier="l1"} 1.0' in process.metrics()
        assert 'credits_cache_reads_total{result="miss",tier="l1"} 0.0' in process.metrics()


class Tiers:
    """The tiers of one process, on the real Redis, before a database that counts how often it is asked."""

    def __init__(self, uri_file: Path, *, l1_ttl_s: float = 30) -> None:
        self.metrics = Metrics()
        self.cache = Cache(uri_file, ttl_s=60, metrics=self.metrics)
        self.balances = BalanceCache(self.cache, Local(l1_ttl_s), Floors(70), "tiers", self.metrics)
        self.listening = asyncio.create_task(self.balances.listen())
        self.asked = 0
        self.account: Account | None = None
        self.delay_s = 0.0

    async def load(self, _: str) -> Account | None:
        self.asked += 1
        found = self.account
        await asyncio.sleep(self.delay_s)
        return found

    async def read(self, tenant_id: str) -> Account | None:
        return await self.balances.read(tenant_id, self.load)

    async def close(self) -> None:
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)
        await self.cache.close()


def _account(tenant_id: str, version: int, next_event_at: float | None = None) -> Account:
    return Account(tenant_id, 100 - version, 0, version, 100, version, next_event_at)


@pytest.fixture
async def two(stack: Stack) -> AsyncIterator[tuple[Tiers, Tiers]]:
    uri_file = stack.folder / "credits" / "cache-uri"
    made = Tiers(uri_file), Tiers(uri_file)
    await asyncio.sleep(0.3)
    yield made
    for tiers in made:
        await tiers.close()


class TestTiers:
    async def test_the_nearest_tier_that_has_it_answers(self, two: tuple[Tiers, Tiers]) -> None:
        one, other = two
        one.account = _account(tenant_id := new_tenant_id(), 1)
        assert await one.read(tenant_id) == one.account
        assert await one.read(tenant_id) == one.account
        assert await other.read(tenant_id) == one.account
        assert (one.asked, other.asked) == (1, 0)

    async def test_a_writer_sees_its_write_even_if_redis_has_an_older_version(self, stack: Stack) -> None:
        """As if the write had never reached Redis, and the entry in memory had been pushed out."""
        tiers = Tiers(stack.folder / "credits" / "cache-uri", l1_ttl_s=0)
        try:
            tenant_id = new_tenant_id()
            await tiers.balances.written([_account(tenant_id, 1)])
            old = await tiers.cache.get(f"shieldx:credits:tiers:balance:{tenant_id}")
            assert old is not None
            await tiers.balances.written([_account(tenant_id, 2)])
            store = redis.Redis.from_url(stack.redis.uri)
            store.set(f"shieldx:credits:tiers:balance:{tenant_id}", b"1|" + old[1], ex=60)
            tiers.account = _account(tenant_id, 2)
            assert await tiers.read(tenant_id) == tiers.account
            # and Redis has it again
            assert text_in(store, f"shieldx:credits:tiers:balance:{tenant_id}").startswith(b"2|")
            store.close()
        finally:
            await tiers.close()

    async def test_an_older_version_never_replaces_a_newer_one(self, two: tuple[Tiers, Tiers]) -> None:
        one, other = two
        tenant_id = new_tenant_id()
        await one.balances.written([_account(tenant_id, 7)])
        await other.balances.written([_account(tenant_id, 3)])
        assert await one.read(tenant_id) == _account(tenant_id, 7)
        entry = await one.cache.get(f"shieldx:credits:tiers:balance:{tenant_id}")
        assert entry is not None
        assert entry[0] == 7

    async def test_a_write_elsewhere_drops_what_is_in_memory(self, two: tuple[Tiers, Tiers]) -> None:
        one, other = two
        tenant_id = new_tenant_id()
        await one.balances.written([_account(tenant_id, 1)])
        assert await other.read(tenant_id) == _account(tenant_id, 1)
        await one.balances.written([_account(tenant_id, 2)])
        await asyncio.sleep(0.1)
        assert await other.read(tenant_id) == _account(tenant_id, 2)
        assert other.asked == 0

    async def test_of_many_who_miss_at_once_one_asks(self, two: tuple[Tiers, Tiers]) -> None:
        one, _ = two
        one.account, one.delay_s = _account(tenant_id := new_tenant_id(), 1), 0.1
        answers = await asyncio.gather(*[one.read(tenant_id) for _ in range(50)])
        assert answers == [one.account] * 50
        assert one.asked == 1

    async def test_who_gives_up_waiting_takes_nobody_with_it(self, two: tuple[Tiers, Tiers]) -> None:
        one, _ = two
        one.account, one.delay_s = _account(tenant_id := new_tenant_id(), 1), 0.2
        first = asyncio.create_task(one.read(tenant_id))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(one.read(tenant_id))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == one.account

    async def test_a_read_that_began_before_a_write_does_not_hide_it(self, two: tuple[Tiers, Tiers]) -> None:
        one, _ = two
        one.account, one.delay_s = _account(tenant_id := new_tenant_id(), 1), 0.2
        slow = asyncio.create_task(one.read(tenant_id))
        await asyncio.sleep(0.1)
        await one.balances.written([_account(tenant_id, 2)])
        joined = await one.read(tenant_id)
        assert joined == await slow == _account(tenant_id, 2)
        assert await one.read(tenant_id) == _account(tenant_id, 2)

    async def test_nothing_is_told_after_a_grant_or_hold_has_expired(self, two: tuple[Tiers, Tiers]) -> None:
        one, other = two
        tenant_id = new_tenant_id()
        await one.balances.written([_account(tenant_id, 1, time.time() + 0.3)])
        assert await other.read(tenant_id) == await one.read(tenant_id)
        await asyncio.sleep(0.4)
        one.account = other.account = _account(tenant_id, 2)
        assert await one.read(tenant_id) == await other.read(tenant_id) == _account(tenant_id, 2)
        assert one.asked == 1

    async def test_after_a_break_in_hearing_nothing_old_is_in_memory(
        self, two: tuple[Tiers, Tiers], stack: Stack
    ) -> None:
        one, _ = two
        tenant_id = new_tenant_id()
        await one.balances.written([_account(tenant_id, 1)])
        assert len(one.balances.local) == 1
        store = redis.Redis.from_url(stack.redis.uri)
        store.client_kill_filter(_type="pubsub")
        store.close()
        await asyncio.sleep(0.5)
        assert len(one.balances.local) == 0

    async def test_an_unknown_tenant_is_not_remembered(self, two: tuple[Tiers, Tiers]) -> None:
        one, _ = two
        tenant_id = new_tenant_id()
        assert await one.read(tenant_id) is None
        one.account = _account(tenant_id, 0)
        assert await one.read(tenant_id) == one.account


def test_a_key_revoked_in_one_replica_is_refused_by_another_within_5_s(api: Api, replica: Api) -> None:
    tenant_id = api.tenant()
    key = api.issue(tenant_id, "read")
    with replica.with_key(key) as client:
        assert client.balance(tenant_id).status_code == 200
        assert api.http.delete(f"/credits/keys/{key.split('_')[1]}").status_code == 204
        revoked_at = time.monotonic()
        while client.balance(tenant_id).status_code != 401:
            assert time.monotonic() - revoked_at < 5
            time.sleep(0.1)
