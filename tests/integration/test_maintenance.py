"""Partitions of the idempotency records come ahead of time and go when nothing in them counts any more."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from tests.integration.harness import Api, Stack, assert_books_balance, new_id, until, with_connection

PARTITIONS = (
    "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'credits.idempotency'::regclass ORDER BY 1"
)


def _names(stack: Stack) -> list[str]:
    return [r["name"] for r in stack.sql(PARTITIONS)]


def _name(day: datetime) -> str:
    return f"idempotency_{day:%Y%m%d}"


def test_a_week_ahead_is_there_and_what_is_too_old_is_dropped(api: Api, stack: Stack) -> None:
    today = datetime.now(UTC)
    kept = [_name(today + timedelta(days=n)) for n in range(-1, 8)]
    for age in (2, 3, 40):
        day = today - timedelta(days=age)
        stack.sql(f"CREATE TABLE credits.{_name(day)} (LIKE credits.idempotency INCLUDING ALL)")
        stack.sql(
            f"ALTER TABLE credits.idempotency ATTACH PARTITION credits.{_name(day)} "
            f"FOR VALUES FROM ('{day:%Y-%m-%d}') TO ('{day + timedelta(days=1):%Y-%m-%d}')"
        )
    tenant_id, key = api.tenant(10), new_id()
    api.consume(tenant_id, 1, key)
    stack.sql(f"DROP TABLE credits.{kept[-1]}")
    result = stack.sql("SELECT * FROM credits.maintain_idempotency(7)")[0]
    assert (result["o_created"], result["o_dropped"]) == (1, 3)
    assert _names(stack) == kept
    assert api.consume(tenant_id, 1, key).headers["idempotency-replayed"] == "true"
    again = stack.sql("SELECT * FROM credits.maintain_idempotency(7)")[0]
    assert (again["o_created"], again["o_dropped"]) == (0, 0)


def test_making_a_partition_waits_for_nobody(stack: Stack) -> None:
    """A transaction that has read and written the records is still open."""
    last = _names(stack)[-1]
    stack.sql(f"DROP TABLE credits.{last}")

    async def run() -> int:
        uri = stack.postgres.uri("credits")
        reader, worker = await asyncpg.connect(uri), await asyncpg.connect(uri)
        try:
            async with reader.transaction():
                await reader.fetch("SELECT count(*) FROM credits.idempotency")
                await reader.execute("LOCK TABLE credits.idempotency IN ROW EXCLUSIVE MODE")
                created: int = await worker.fetchval("SELECT o_created FROM credits.maintain_idempotency(7)", timeout=5)
                return created
        finally:
            await reader.close()
            await worker.close()

    assert asyncio.run(run()) == 1
    assert _names(stack)[-1] == last


def test_without_todays_partition_the_service_is_unready(stack: Stack) -> None:
    name = _name(datetime.now(UTC))
    stack.sql(f"ALTER TABLE credits.{name} RENAME TO hidden")
    try:
        status, document = stack.service.readiness()
        assert status == 503
        assert "partition" in document["checks"]["schema"]["message"]
    finally:
        stack.sql(f"ALTER TABLE credits.hidden RENAME TO {name}")


ABANDON = """
WITH held AS (
    INSERT INTO credits.holds (reservation_id, tenant_id, amount, state, expires_at, created_at)
    SELECT gen_random_uuid(), $1, 1, 'held', clock_timestamp(), now() FROM generate_series(1, $2::integer)
    RETURNING reservation_id, tenant_id
), lots AS (
    INSERT INTO credits.hold_lots (reservation_id, place, grant_id, amount)
    SELECT h.reservation_id, 0, g.grant_id, 1 FROM held h JOIN credits.grants g USING (tenant_id)
), lot AS (
    UPDATE credits.grants SET remaining = remaining - $2::integer, held = held + $2::integer WHERE tenant_id = $1
)
UPDATE credits.accounts SET reserved_funds = reserved_funds + $2::integer, next_event_at = now() WHERE tenant_id = $1
"""
"""So many holds that have just expired."""


async def test_what_expired_while_nobody_settled_is_carried_out_in_portions(stack: Stack, api: Api) -> None:
    """All of it at once may take longer than a statement may: it would never be done, and the tenant never served."""
    tenant_id, holds = api.tenant(2000), 1200
    assert api.reserve(tenant_id, 1).status_code == 201

    async def abandon(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[bool, int]:
        async with connection.transaction():
            await connection.execute(ABANDON, tenant_id, holds)
            row = await connection.fetchrow(
                "SELECT next_event_at <= clock_timestamp() AS more, reserved_funds FROM credits.lock_and_settle($1)",
                tenant_id,
            )
            assert row is not None
            return row["more"], row["reserved_funds"]

    more, reserved = await with_connection(stack.postgres.uri("credits"), abandon)
    assert (more, reserved) == (True, holds + 1 - 500)

    def settled() -> bool:
        return bool(api.balance(tenant_id).json()["reserved_funds"] == 1)

    await asyncio.to_thread(until, settled)
    await asyncio.to_thread(assert_books_balance, stack, tenant_id)
    assert api.consume(tenant_id, 1999).status_code == 200
