"""What was written before there were chains of writers is sealed, proved and exported like everything after."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from shieldx_runtime.core.database import Database
from shieldx_runtime.core.merkle import leaf_hash, verify_inclusion
from shieldx_runtime.core.migrations import run
from shieldx_runtime.core.settings import DatabaseSettings
from shieldx_runtime.credits.proofs import Proofs
from shieldx_runtime.credits.repository import SCHEMA, migrations
from shieldx_runtime.credits.verify import verify
from tests.integration.audit.ledger import ANYBODY, Ledger
from tests.integration.harness import Stack, new_tenant_id, query


@pytest.fixture
async def old_ledger(stack: Stack, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A database of the first release, with entries of two tenants, that is then migrated."""
    name = new_tenant_id().replace("-", "_")
    stack.postgres.create_database(name)
    uri = stack.postgres.uri(name)
    uri_file = tmp_path / "uri"
    uri_file.write_text(uri, encoding="utf-8")
    await run(uri_file, SCHEMA, migrations()[:1])
    connection = await asyncpg.connect(uri)
    database = Database(DatabaseSettings(uri_file=uri_file, pool_max_size=2, request_timeout_s=5.0))
    await database.open()
    ledger = Ledger(uri, uri_file, database, connection)
    try:
        await connection.fetch("SELECT credits.maintain_idempotency(7)")
        for tenant_id in ("old-1", "old-2", "old-1", "old-2", "old-1"):
            await connection.execute(
                "INSERT INTO credits.accounts (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING", tenant_id
            )
            row = await connection.fetchrow(
                "SELECT o_transaction_id AS id FROM credits.move('purchase', $1, 5, $2, $3, 'k', NULL, 'ref|é', NULL)",
                tenant_id,
                uuid.uuid4(),
                bytes(32),
            )
            assert row
            ledger.transactions.append(row["id"])
        await run(uri_file, SCHEMA, migrations())
        await connection.reload_schema_state()
        yield ledger
    finally:
        await connection.close()
        await database.close()


async def test_old_entries_are_in_the_tree_beside_new_ones(old_ledger: Ledger) -> None:
    await old_ledger.seal()
    await old_ledger.consume(["old-1", "old-2"])
    await old_ledger.tenant()
    await old_ledger.seal()
    report = await old_ledger.verify()
    assert report.entries == report.sealed == len(old_ledger.transactions) == 8
    proofs = Proofs(old_ledger.database, seal_interval_s=10)
    places = set()
    for transaction_id in old_ledger.transactions:
        proof = await proofs.inclusion(ANYBODY, transaction_id)
        assert str(transaction_id) in proof.entry
        head = old_ledger.verifier.open(proof.signed.note)
        verify_inclusion(leaf_hash(proof.entry.encode()), proof.leaf_index, head.size, proof.path, head.root)
        places.add(proof.leaf_index)
    assert places == set(range(8))


async def test_a_changed_old_entry_is_named(old_ledger: Ledger) -> None:
    await old_ledger.seal()
    await old_ledger.sql("UPDATE credits.events SET entry = entry || ' ' WHERE chain_id = -1 AND seq = 4")
    assert (await old_ledger.fault()).index == 3


async def test_a_changed_old_row_of_the_ledger_is_found_on_the_database(old_ledger: Ledger) -> None:
    await old_ledger.consume(["old-1", "old-2"])
    await old_ledger.seal()
    assert await verify(old_ledger.connection) == []
    await old_ledger.sql("UPDATE credits.ledger SET reference = 'other' WHERE version = 1 AND tenant_id = 'old-1'")
    assert [p for p in await verify(old_ledger.connection) if "tenant old-1: entry 1 of the ledger and event" in p]


def test_a_database_without_old_entries_has_an_empty_chain_for_them(stack: Stack) -> None:
    rows = query(stack.postgres.uri("credits"), "SELECT seq FROM credits.event_heads WHERE chain_id = -1")
    assert [row["seq"] for row in rows] == [0]
