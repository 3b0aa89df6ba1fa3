"""The pool: half of it warm, no connection old, none lost."""

import asyncio

import asyncpg
import pytest

from shieldx_runtime.core import database
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.settings import DatabaseSettings
from tests.integration.harness import Stack, new_id

MINE = (
    "SELECT pid FROM pg_stat_activity WHERE datname = 'credits' AND application_name = 'shieldx-runtime' "
    "AND backend_start > now() - interval '60 s' ORDER BY pid"
)


def _settings(stack: Stack, timeout_s: float = 2.0) -> DatabaseSettings:
    return DatabaseSettings(stack.service.database_uri_file, pool_max_size=6, request_timeout_s=timeout_s)


async def test_half_is_kept_warm_and_replaced_when_it_is_old(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_HEALTH_INTERVAL_S", 0.1)
    monkeypatch.setattr(database, "_LIFETIME_S", 1.0)
    before = {r["pid"] for r in await asyncio.to_thread(stack.sql, MINE)}
    pool = Database(_settings(stack))
    await pool.open()
    try:
        await asyncio.sleep(0.5)
        young = {r["pid"] for r in await pool.fetch(MINE)} - before
        assert len(young) == 3
        async with asyncio.timeout(10):  # a second and a look later, and more on a busy machine
            while {r["pid"] for r in await pool.fetch(MINE)} & young:  # noqa: ASYNC110 - PostgreSQL tells nobody
                await asyncio.sleep(0.1)
    finally:
        await pool.close()


async def test_a_caller_that_gives_up_gives_its_connection_back(stack: Stack) -> None:
    pool = Database(_settings(stack, timeout_s=30))
    await pool.open()
    try:
        for _ in range(3):
            sleepers = [asyncio.create_task(pool.fetch("SELECT pg_sleep(20)")) for _ in range(6)]
            await asyncio.sleep(0.2)
            for sleeper in sleepers:
                sleeper.cancel()
            await asyncio.gather(*sleepers, return_exceptions=True)
            async with asyncio.timeout(3):
                rows = await asyncio.gather(*[pool.fetch_row("SELECT 1 AS one") for _ in range(20)])
            assert [r["one"] for r in rows] == [1] * 20
    finally:
        await pool.close()


async def test_the_server_ends_a_statement_that_takes_too_long(stack: Stack) -> None:
    pool = Database(_settings(stack, timeout_s=0.3))
    await pool.open()
    try:
        with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
            await pool.fetch("SELECT pg_sleep(20)")
    finally:
        await pool.close()


async def test_a_pool_full_of_waiting_requests_does_not_make_the_service_unready(stack: Stack) -> None:
    tenant_id = await asyncio.to_thread(stack.api.tenant, 100)
    bodies = [{"tenant_id": tenant_id, "amount": 1, "idempotency_key": new_id()} for _ in range(30)]
    blocker = await asyncpg.connect(stack.postgres.uri("credits"))
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM credits.accounts WHERE tenant_id = $1 FOR UPDATE", tenant_id)
            waiting = asyncio.create_task(stack.api.consume_all(bodies))
            await asyncio.sleep(0.5)
            began = asyncio.get_running_loop().time()
            status, document = await asyncio.to_thread(stack.service.readiness)
            assert (status, document["ready"]) == (200, True)
            assert asyncio.get_running_loop().time() - began < 1
            assert not waiting.done()
        assert {a.status_code for a in await waiting} == {200}
    finally:
        await blocker.close()
