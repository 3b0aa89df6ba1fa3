"""PostgreSQL and Redis crash, hang, come late and change their passwords."""

import asyncio
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from dev.devserver.ports import free_port
from dev.devserver.service import CreditsProcess
from tests.integration.harness import (
    Api,
    Stack,
    assert_books_balance,
    new_id,
    problem_of,
    running_stack,
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One of its own, durable; every test leaves it running."""
    with running_stack(tmp_path_factory.mktemp("faults"), durable=True) as made:
        yield made


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    return stack.api


def _timed(call: Any) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began


def _until_ready(service: CreditsProcess, *, within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not service.ready():
        assert time.monotonic() < deadline, service.readiness()
        time.sleep(0.1)


def test_a_crash_of_postgresql_under_load_leaves_one_outcome_for_each_key(stack: Stack, api: Api) -> None:
    tenants = [api.tenant(60) for _ in range(3)]
    bodies = [{"tenant_id": tenants[n % 3], "amount": 1, "idempotency_key": new_id()} for n in range(400)]
    first: dict[str, int] = {}

    async def client(http: httpx.AsyncClient, todo: list[dict[str, Any]], *, last: bool) -> None:
        for body in todo:
            answer = await http.post("/credits/consume", json=body)
            assert answer.status_code in ((200, 402) if last else (200, 402, 409, 503)), answer.text
            known = first.get(body["idempotency_key"])
            if answer.status_code in (200, 402):
                # what was once answered is answered the same for ever
                assert known in (None, answer.status_code)
                first[body["idempotency_key"]] = answer.status_code

    async def everyone(*, last: bool = False) -> None:
        async with httpx.AsyncClient(base_url=api.url, headers=api.headers, timeout=10) as http:
            await asyncio.gather(*[client(http, bodies[n::8], last=last) for n in range(8)])

    async def crash() -> None:
        while len(first) < 50:  # noqa: ASYNC110 - what it waits for is a count
            await asyncio.sleep(0.01)
        stack.postgres.kill()
        await asyncio.sleep(0.2)
        stack.postgres.start()

    async def load_and_crash() -> None:
        await asyncio.gather(everyone(), crash())

    asyncio.run(load_and_crash())
    _until_ready(stack.service)
    assert 0 < len(first) < len(bodies), "the crash came too late to interrupt anything"
    random.shuffle(bodies)
    asyncio.run(everyone(last=True))

    charged = stack.sql("SELECT idempotency_key FROM credits.ledger WHERE kind = 'consume'")
    assert sorted(str(r["idempotency_key"]) for r in charged) == sorted(k for k, s in first.items() if s == 200)
    assert sum(status == 200 for status in first.values()) == 180
    for tenant_id in tenants:
        assert api.balance(tenant_id).json()["balance"] == 0
        assert_books_balance(stack, tenant_id)


def test_without_postgresql_every_call_is_503_at_once_and_all_recovers_by_itself(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(10)
    unread = api.tenant(1)
    key = new_id()
    stack.postgres.stop()
    try:
        for call in (
            lambda: api.consume(tenant_id, 1, key),
            lambda: api.purchase(tenant_id, 1),
            lambda: api.http.put("/credits/tenants/new"),
            lambda: api.http.delete("/credits/keys/0123456789abcdef"),
            lambda: httpx.get(
                f"{api.url}/credits/balance/{unread}",
                headers={"Authorization": f"Bearer sxk_{'0' * 16}_{'A' * 43}"},
            ),
        ):
            answer, took_s = _timed(call)
            problem_of(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert took_s < 2.5
        status, document = stack.service.readiness()
        assert (status, document["ready"]) == (503, False)
        assert "connection refused" in document["checks"]["database"]["message"]
        assert document["checks"]["cache"]["ok"] is True
        assert httpx.get(stack.service.health_url + "/healthz").status_code == 200
        # what is in the cache is still told
        assert api.balance(tenant_id).json()["balance"] == 10
    finally:
        stack.postgres.start()
    _until_ready(stack.service)
    assert api.consume(tenant_id, 1, key).json()["balance"] == 9


def test_a_postgresql_that_hangs_costs_2_s_and_no_second_charge(stack: Stack, api: Api) -> None:
    tenant_id, key = api.tenant(10), new_id()
    stack.postgres.freeze()
    try:
        answer, took_s = _timed(lambda: api.consume(tenant_id, 1, key))
        problem_of(answer, 503, "unavailable")
        assert 1.5 < took_s < 2.7
        status, document = stack.service.readiness()
        assert status == 503
        assert "no answer" in document["checks"]["database"]["message"]
    finally:
        stack.postgres.thaw()
    _until_ready(stack.service)
    assert api.consume(tenant_id, 1, key).json()["balance"] == 9
    assert api.consume(tenant_id, 1, key).headers["idempotency-replayed"] == "true"
    assert_books_balance(stack, tenant_id)


def test_losing_redis_is_no_error_anywhere(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    for lose, get_back in (
        (stack.redis.kill, stack.redis.start),
        (stack.redis.freeze, stack.redis.thaw),
    ):
        lose()
        try:
            before = api.balance(tenant_id).json()["balance"]
            for spent in range(1, 11):
                answer, took_s = _timed(lambda: api.consume(tenant_id, 1))
                assert answer.status_code == 200
                assert took_s < 1
                assert api.balance(tenant_id).json()["balance"] == before - spent
            status, document = stack.service.readiness()
            assert (status, document["ready"]) == (200, True)
            assert document["checks"]["cache"]["ok"] is False
            assert document["checks"]["cache"]["message"]
        finally:
            get_back()
    deadline = time.monotonic() + 5
    while not stack.service.readiness()[1]["checks"]["cache"]["ok"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_service_that_starts_before_its_database_and_its_schema_waits_for_both(stack: Stack) -> None:
    port = free_port()
    with ExitStack() as exits:
        process = CreditsProcess(
            stack.folder / "early",
            database_uri=f"postgresql://credits:x@127.0.0.1:{port}/early",
            cache_uri=stack.redis.uri,
            admin_key=stack.admin_key,
            http_port=free_port(),
            health_port=free_port(),
        )
        exits.callback(process.stop)
        process.start(wait_ready_s=0)
        early = Api(process.url, stack.admin_key)
        exits.callback(early.close)
        process.child.wait_until(lambda: process.readiness()[0] == 503, 20)
        problem_of(early.consume("org-1", 1), 503, "unavailable")

        stack.postgres.create_database("early")
        process.database_uri_file.write_text(stack.postgres.uri("early"), encoding="utf-8")
        process.child.wait_until(lambda: process.readiness()[1]["checks"]["database"]["ok"], 10)
        _, document = process.readiness()
        assert document["ready"] is False
        assert "schema_migrations" in document["checks"]["schema"]["message"]
        problem_of(early.consume("org-1", 1), 503, "unavailable")

        assert process.migrate().returncode == 0
        _until_ready(process)
        assert early.tenant(1)


def test_a_rotated_password_is_picked_up(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(10)
    uri_file = stack.service.database_uri_file
    old = stack.postgres.service_uri("credits")
    password = old.partition("@")[0].rpartition(":")[2]
    stack.sql("ALTER ROLE credits_service PASSWORD 'rotated'")
    new = old.replace(password, "rotated")
    try:
        with suppress(Exception):
            stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        problem_of(api.consume(tenant_id, 1), 503, "unavailable")
        message = stack.service.readiness()[1]["checks"]["database"]["message"]
        assert message == (
            f'database 127.0.0.1:{stack.postgres.port}: password authentication failed for user "credits_service": '
            'check the Secret\'s key "uri"'
        )
        uri_file.write_text(new, encoding="utf-8")
        _until_ready(stack.service)
        assert api.consume(tenant_id, 1).json()["balance"] == 9
    finally:
        stack.sql(f"ALTER ROLE credits_service PASSWORD '{password}'")
        uri_file.write_text(old, encoding="utf-8")


def test_a_failed_movement_leaves_nothing_behind(stack: Stack, api: Api) -> None:
    """The audit chain cannot be written: so there is no ledger entry, no change and no record of the key either."""
    tenant_id, key = api.tenant(10), new_id()
    stack.sql("ALTER TABLE credits.chain_links ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        problem_of(api.consume(tenant_id, 1, key), 500, "internal-error")
    finally:
        stack.sql("ALTER TABLE credits.chain_links DROP CONSTRAINT broken")
    assert stack.sql("SELECT FROM credits.idempotency WHERE idempotency_key = $1", uuid.UUID(key)) == []
    assert_books_balance(stack, tenant_id)
    assert "idempotency-replayed" not in api.consume(tenant_id, 1, key).headers
    assert api.balance(tenant_id).json()["balance"] == 9
