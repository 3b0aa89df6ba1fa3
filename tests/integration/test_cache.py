"""Balances from Redis: a writer sees its own write, another replica an old answer for no longer than the lifetime."""

import re
import time
from collections.abc import Iterator

import pytest
import redis

from tests.integration.harness import Api, Stack


@pytest.fixture
def store(stack: Stack) -> Iterator["redis.Redis"]:
    client = redis.Redis.from_url(stack.redis.uri)
    yield client
    client.close()


def _entry(store: "redis.Redis", tenant_id: str) -> bytes:
    (key,) = store.keys(f"shieldx:credits:*:balance:{tenant_id}")
    assert 0 < store.ttl(key) <= 60
    return key


def _hit_rate(stack: Stack) -> float:
    match = re.search(r"^credits_cache_hit_rate (\S+)$", stack.service.metrics(), re.MULTILINE)
    assert match
    return float(match[1])


def test_a_balance_is_read_from_the_cache(api: Api, stack: Stack, store: "redis.Redis") -> None:
    tenant_id = api.tenant(10)
    assert api.balance(tenant_id).status_code == 200
    key = _entry(store, tenant_id)
    store.set(key, store.get(key).replace(b'"balance":10', b'"balance":11'), keepttl=True)
    assert api.balance(tenant_id).json()["balance"] == 11
    store.delete(key)
    assert api.balance(tenant_id).json()["balance"] == 10
    assert 0 < _hit_rate(stack) < 1


def test_every_write_is_seen_by_the_next_read_of_any_replica(api: Api, replica: Api) -> None:
    tenant_id = api.tenant(100)
    for spent in range(1, 21):
        writer, reader = (api, replica) if spent % 2 else (replica, api)
        assert writer.consume(tenant_id, 1).status_code == 200
        assert reader.balance(tenant_id).json()["balance"] == 100 - spent
        assert writer.balance(tenant_id).json()["balance"] == 100 - spent


def test_an_older_version_in_the_cache_is_passed_over_by_who_has_written(api: Api, store: "redis.Redis") -> None:
    """As if the write had never reached Redis."""
    tenant_id = api.tenant(10)
    key = _entry(store, tenant_id)
    old = store.get(key)
    api.consume(tenant_id, 1)
    store.set(key, old, ex=60)
    assert api.balance(tenant_id).json()["balance"] == 9
    assert store.get(key).startswith(b"2|")


def test_an_older_version_never_replaces_a_newer_one(api: Api, store: "redis.Redis") -> None:
    tenant_id = api.tenant(10)
    key = _entry(store, tenant_id)
    store.set(key, store.get(key).replace(b"1|", b"7|", 1), ex=60)
    api.consume(tenant_id, 1)
    assert store.get(key).startswith(b"7|")


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"9|rubbish", b"9|{}", b"|", b"\xff|\xff", b"99"])
def test_rubbish_in_the_cache_costs_a_hit_and_nothing_else(api: Api, store: "redis.Redis", rubbish: bytes) -> None:
    tenant_id = api.tenant(10)
    store.set(_entry(store, tenant_id), rubbish, ex=60)
    assert api.balance(tenant_id).json()["balance"] == 10
    assert api.consume(tenant_id, 1).status_code == 200
    assert api.balance(tenant_id).json()["balance"] == 9


def test_a_wrong_type_in_the_cache_costs_a_hit_and_nothing_else(api: Api, store: "redis.Redis") -> None:
    tenant_id = api.tenant(10)
    key = _entry(store, tenant_id)
    store.delete(key)
    store.lpush(key, "x")
    assert api.balance(tenant_id).json()["balance"] == 10
    assert api.consume(tenant_id, 1).status_code == 200
    assert api.balance(tenant_id).json()["balance"] == 9


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
