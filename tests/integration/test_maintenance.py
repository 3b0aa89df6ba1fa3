"""Partitions of the idempotency records come ahead of time and go when nothing in them counts any more."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from tests.integration.harness import Api, Stack, new_id

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
