"""The rate limit of a key: on the way before FastAPI and on the ordinary one, by setting and by key."""

import asyncio
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from shieldx_contract import ENV_CACHE_URI_FILE, ENV_RATE_LIMIT
from shieldx_runtime.core.cache import Cache
from shieldx_runtime.core.metrics import Metrics
from tests.integration.harness import Api, Stack, assert_books_balance, problem_of
from tests.integration.test_front import ROUTE, Both, Side, fronted, status, wish

BALANCE = b"GET /credits/balance/TENANT HTTP/1.1"


def limited(api: Api, limit: int, tenant_id: str | None = None) -> str:
    """A new key with a limit of its own."""
    body = {"tenant_id": tenant_id, "scopes": ["consume", "read"], "rate_limit": limit}
    answer = api.http.post("/credits/keys", json=body)
    assert (answer.status_code, answer.json()["rate_limit"]) == (201, limit)
    key: str = answer.json()["key"]
    return key


class _Telling(Side):
    """Answers with what is left of the limit, but for the time, which runs."""

    def normal(self, answer: bytes) -> bytes:
        left = re.search(rb'\r\nratelimit: "key";r=(\d+);', answer)
        same = super().normal(re.sub(rb"(retry-after: |in )\d+( s|\r)", rb"\1?\2", answer))
        return same + b"\nr=%b" % (left[1] if left else b"?")


def test_what_is_left_and_the_429_are_the_same_on_both_ways(stack: Stack, api: Api) -> None:
    both = Both(
        _Telling(stack, limited(api, 12), api.tenant(1000), b""),
        _Telling(stack, limited(api, 12), api.tenant(1000), ROUTE),
    )
    try:
        before = fronted(stack)
        for number in range(10):
            line = (lambda s: s.get(BALANCE)) if number % 3 == 2 else (lambda s: s.post(wish()))
            (answer,) = both.same(line)
            assert (status(answer), answer[-4:].strip()) == (200, b"r=%d" % (11 - number))
        # a request that is refused for another reason counts too
        assert status(both.same(lambda s: s.post(wish(amount=0)))[0]) == 422
        assert status(both.same(lambda s: s.post(wish(tenant_id="no-such-tenant")))[0]) == 404
        for make in (lambda s: s.post(wish()), lambda s: s.get(BALANCE), lambda s: s.post(b"{")):
            for _ in range(2):
                (answer,) = both.same(make)
                assert status(answer) == 429
                assert answer.endswith(b"r=0")
        assert fronted(stack) - before >= 12
    finally:
        for side in (both.front, both.route):
            side.close()
            assert_books_balance(stack, side.tenant_id)


def test_a_429_says_when_to_come_again_and_changes_nothing(api: Api) -> None:
    tenant_id = api.tenant(100)
    with api.with_key(limited(api, 3, tenant_id)) as client:
        for left in (2, 1, 0):
            answer = client.consume(tenant_id, 1)
            assert answer.headers["ratelimit-policy"] == '"key";q=3;w=10'
            assert re.fullmatch(rf'"key";r={left};t=(10|9|8)', answer.headers["ratelimit"])
        refused = [client.consume(tenant_id, 1), client.balance(tenant_id), client.http.get("/nothing")]
        for answer in refused:
            document = problem_of(answer, 429, "quota-exceeded")
            assert document["violated-policies"] == ["key"]
            assert 1 <= int(answer.headers["retry-after"]) <= 10
            assert answer.headers["ratelimit"].startswith('"key";r=0;t=')
    assert api.balance(tenant_id).json()["balance"] == 97


def test_keys_do_not_share_their_limits(api: Api) -> None:
    tenant_id = api.tenant(100)
    with api.with_key(limited(api, 1, tenant_id)) as one, api.with_key(limited(api, 1, tenant_id)) as other:
        assert one.balance(tenant_id).status_code == 200
        assert one.balance(tenant_id).status_code == 429
        assert other.balance(tenant_id).status_code == 200


def test_a_registered_key_takes_another_limit_at_once(api: Api) -> None:
    tenant_id = api.tenant(100)
    key = limited(api, 2, tenant_id)
    body = {"tenant_id": tenant_id, "scopes": ["read"], "key": key}
    path = f"/credits/keys/{key.split('_')[1]}"
    with api.with_key(key) as client:
        assert client.balance(tenant_id).headers["ratelimit"].startswith('"key";r=1;')
        assert api.http.put(path, json={**body, "rate_limit": 5}).json()["rate_limit"] == 5
        assert client.balance(tenant_id).headers["ratelimit"].startswith('"key";r=3;')
        assert api.http.put(path, json=body).json()["rate_limit"] is None
        assert client.balance(tenant_id).headers["ratelimit-policy"] == '"key";q=500000;w=10'


@pytest.mark.parametrize("limit", [0, -1, 10_000_001, "5", 1.5, True])
def test_a_limit_that_is_none_is_refused(api: Api, limit: object) -> None:
    body = {"tenant_id": None, "scopes": ["read"], "rate_limit": limit}
    problem_of(api.http.post("/credits/keys", json=body), 422, "validation-failed")


def test_the_service_has_a_limit_for_keys_without_one(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    key = api.issue(tenant_id, "read")
    with ExitStack() as exits:
        process = stack.replica(exits, **{ENV_RATE_LIMIT: "4"})
        client = Api(process.url, key)
        exits.callback(client.close)
        answers = [client.balance(tenant_id) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert answers[0].headers["ratelimit-policy"] == '"key";q=4;w=10'


def left(client: Api, tenant_id: str) -> int:
    """What an answer says that is left, this request counted; -1: it was refused."""
    answer = client.balance(tenant_id)
    told = re.match(r'"key";r=(\d+);', answer.headers["ratelimit"])
    assert told
    return int(told[1]) if answer.status_code == 200 else -1


def test_replicas_let_through_together_what_the_limit_of_a_key_says(stack: Stack, api: Api, replica: Api) -> None:
    tenant_id = api.tenant(100)
    key = limited(api, 40, tenant_id)
    with api.with_key(key) as one, replica.with_key(key) as other:
        assert [left(one, tenant_id) for _ in range(25)] == [*range(39, 14, -1)]
        assert left(other, tenant_id) == 39, "it has yet to hear of the others"
        time.sleep(0.6)
        assert left(other, tenant_id) == 13
        time.sleep(0.6)
        seen = [left(one, tenant_id) for _ in range(15)]
        assert seen == [*range(12, -1, -1), -1, -1]
        time.sleep(0.6)
        assert left(other, tenant_id) == -1
        answer = other.balance(tenant_id)
        assert 1 <= int(answer.headers["retry-after"]) <= 10
    (name,) = redis.Redis.from_url(stack.redis.uri).keys(f"shieldx:credits:*:quota:{key.split('_')[1]}")
    assert name


def test_without_redis_each_replica_counts_alone_and_no_request_fails(stack: Stack, api: Api, tmp_path: Path) -> None:
    tenant_id = api.tenant(100)
    key = limited(api, 5, tenant_id)
    nowhere = tmp_path / "uri"
    nowhere.write_text("redis://127.0.0.1:1/0", encoding="utf-8")
    with ExitStack() as exits:
        alone = Api(stack.replica(exits, **{ENV_CACHE_URI_FILE: str(nowhere)}).url, key)
        exits.callback(alone.close)
        with api.with_key(key) as one:
            assert [left(one, tenant_id) for _ in range(5)] == [4, 3, 2, 1, 0]
            time.sleep(0.6)
            assert [left(alone, tenant_id) for _ in range(6)] == [4, 3, 2, 1, 0, -1]


async def test_what_goes_beyond_a_limit_counts_in_the_windows_that_follow(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "uri"
    file.write_text(stack.redis.uri, encoding="utf-8")
    cache = Cache(file, ttl_s=60, metrics=Metrics())

    async def add(used: int, name: str = "one") -> tuple[int, float]:
        told = await cache.add_up(f"quota:{tmp_path.name}:", [(name, used, 5, 1.0)], 1)
        assert told is not None
        return told[0]

    try:
        assert (await add(0)) == (0, 1.0)
        assert (await add(3))[0] == 3
        used, left_s = await add(10)
        assert used == 13
        assert 1.0 < left_s <= 2.0, "after two windows three of five are used, and two are left"
        assert (await add(1, "another"))[0] == 1
        await asyncio.sleep(left_s + 0.01)
        used, left_s = await add(1)
        assert used == 4
        assert left_s <= 1.0
        await asyncio.sleep(left_s + 0.01)
        assert (await add(2))[0] == 2
    finally:
        await cache.close()


def test_who_is_not_known_has_no_limit_to_be_told(api: Api) -> None:
    with api.with_key(None) as nobody:
        answer = nobody.balance("org-1")
    assert answer.status_code == 401
    assert "ratelimit" not in answer.headers
