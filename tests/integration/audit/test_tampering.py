"""Whoever changes the database behind the service's back is found out, and the first entry that is wrong is named."""

import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import asyncpg
import pytest

from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.credits.export import export_ledger
from shieldx_runtime.credits.export_format import Entry, decode
from shieldx_runtime.credits.proofs import ENTRY_ALTERED, Proofs
from tests.integration.audit.ledger import ANYBODY, Ledger

SEEDS = range(4)
FLIPS = {
    "tenant_id": "overlay(tenant_id PLACING chr(ascii(tenant_id) # 1) FROM 1 FOR 1)",
    "version": "version + 1000000",
    "kind": "'commit'",
    "amount": "amount # 1 + 2",
    "balance_after": "balance_after # 4",
    "idempotency_key": "'7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90'",
    "key_id": "overlay(key_id PLACING chr(ascii(key_id) # 1) FROM 1 FOR 1)",
    "related_id": "'7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90'",
    "description": "coalesce(overlay(description PLACING chr(ascii(description) # 1) FROM 1 FOR 1), 'x')",
    "reference": "coalesce(overlay(reference PLACING chr(ascii(reference) # 1) FROM 1 FOR 1), 'x')",
    "source": "coalesce(source, '') || 'x'",
    "created_at": "created_at + interval '1 microsecond'",
}


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable on purpose


def index_of(content: bytes, transaction_id: object) -> int:
    """The place of a transaction in an export, from 0."""
    entries = [r for r in map(decode, content.splitlines(keepends=True)) if isinstance(r, Entry)]
    return next(n for n, entry in enumerate(entries) if str(transaction_id) in (entry.entry or "").split("|")[6:7])


@pytest.mark.parametrize("seed", SEEDS)
async def test_one_change_in_any_column_of_any_ledger_row_is_named(ledger: Ledger, seed: int) -> None:
    await ledger.grown(seed)
    before = await ledger.export()
    roll = dice(seed)
    for column, flip in roll.sample(sorted(FLIPS.items()), 4):
        transaction_id = roll.choice(ledger.transactions)
        async with Undone(ledger):
            await ledger.sql(f"UPDATE credits.ledger SET {column} = {flip} WHERE transaction_id = $1", transaction_id)  # noqa: S608
            found = await ledger.fault()
        assert found.index == index_of(before, transaction_id), column
        assert "not the one that the chain has" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
async def test_deleted_rows_are_named(ledger: Ledger, seed: int) -> None:
    await ledger.grown(seed)
    before = await ledger.export()
    gone = dice(seed).sample(ledger.transactions, 3)
    async with Undone(ledger):
        await ledger.sql("DELETE FROM credits.ledger WHERE transaction_id = ANY ($1)", gone)
        found = await ledger.fault()
    assert found.index == min(index_of(before, transaction_id) for transaction_id in gone)
    assert "the table has lost it" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_deleted_tail_is_named_though_links_heads_and_accounts_were_set_back_with_it(
    ledger: Ledger, seed: int
) -> None:
    tenants = await ledger.grown(seed)
    await ledger.consume(tenants)
    before = await ledger.export()
    chain = dice(seed).choice(
        await ledger.sql("SELECT chain_id, seq, hash FROM credits.chain_links WHERE seq > 1 ORDER BY chain_id, seq")
    )
    async with Undone(ledger):
        gone = await ledger.sql(
            "DELETE FROM credits.ledger WHERE chain_id = $1 AND chain_seq >= $2 RETURNING transaction_id",
            chain["chain_id"],
            chain["seq"],
        )
        await ledger.sql(
            "DELETE FROM credits.chain_links WHERE chain_id = $1 AND seq >= $2", chain["chain_id"], chain["seq"]
        )
        await ledger.sql(
            "UPDATE credits.chain_heads h SET seq = l.seq, hash = l.hash FROM credits.chain_links l "
            "WHERE l.chain_id = h.chain_id AND h.chain_id = $1 AND l.seq = $2 - 1",
            chain["chain_id"],
            chain["seq"],
        )
        first = min(index_of(before, row["transaction_id"]) for row in gone)
        sealed = (await ledger.sql("SELECT size FROM credits.tree"))[0]["size"]
        if first < sealed:
            found = await ledger.fault()
            assert found.index == first
            assert f"chain {chain['chain_id']} link {chain['seq']} is missing" in found.problem
        else:
            # nothing but the head spoke for it, and it was set back, too; seconds later it would have been sealed
            report = await ledger.verify()
            assert sealed == report.sealed < report.entries + len(gone)


async def test_a_tail_that_is_not_sealed_is_held_by_its_head(ledger: Ledger) -> None:
    tenants = await ledger.grown()
    await ledger.consume(tenants[:1])
    last = (await ledger.sql("SELECT chain_id, seq FROM credits.chain_links ORDER BY created_at DESC LIMIT 1"))[0]
    async with Undone(ledger):
        await ledger.sql("DELETE FROM credits.chain_links WHERE chain_id = $1 AND seq = $2", *last.values())
        found = await ledger.fault()
    assert f"chain {last['chain_id']} link {last['seq']} is missing: its head says" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_swapped_pair_names_the_first_of_the_two(ledger: Ledger, seed: int) -> None:
    await ledger.grown(seed)
    before = await ledger.export()
    pair = dice(seed).sample(ledger.transactions[8:], 2)
    async with Undone(ledger):
        places = {
            row["transaction_id"]: (row["chain_id"], row["chain_seq"], row["chain_pos"])
            for row in await ledger.sql(
                "SELECT transaction_id, chain_id, chain_seq, chain_pos FROM credits.ledger "
                "WHERE transaction_id = ANY ($1)",
                pair,
            )
        }
        for one, other in (pair, pair[::-1]):
            await ledger.sql(
                "UPDATE credits.ledger SET chain_id = $2, chain_seq = $3, chain_pos = $4 WHERE transaction_id = $1",
                one,
                *places[other],
            )
        found = await ledger.fault()
    assert found.index == min(index_of(before, transaction_id) for transaction_id in pair)


@pytest.mark.parametrize("column", ["entry = entry || ' '", "hash = sha256('x')"])
async def test_a_changed_access_is_named(ledger: Ledger, column: str) -> None:
    await ledger.grown()
    async with Undone(ledger):
        await ledger.sql(f"UPDATE credits.events SET {column} WHERE chain_id = 0 AND seq = 2")  # noqa: S608
        found = await ledger.fault()
    assert "chain 0 link 2" in found.problem


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE credits.chain_links SET hash = sha256('x') WHERE seq = 2", "does not follow from its entries"),
        ("UPDATE credits.chain_links SET leaves = sha256(leaves) WHERE seq = 2", "chain"),
        ("UPDATE credits.checkpoints SET note = replace(note, 'time 2', 'time 3')", "signature"),
        ("DELETE FROM credits.tree_segments WHERE first_index > 0", "missing"),
        ("UPDATE credits.chain_heads SET hash = sha256('x') WHERE seq > 0", "another hash"),
        ("UPDATE credits.tree SET ledger_id = gen_random_uuid()", "the checkpoint is of"),
    ],
)
async def test_whatever_else_is_changed_is_found(ledger: Ledger, statement: str, problem: str) -> None:
    await ledger.grown()
    async with Undone(ledger):
        await ledger.sql(statement)
        assert problem in (await ledger.fault()).problem


async def test_a_ledger_set_back_with_its_checkpoints_fails_against_one_that_was_kept(ledger: Ledger) -> None:
    await ledger.grown()
    kept = ledger.verifier.open(
        (await ledger.sql("SELECT note FROM credits.checkpoints ORDER BY size DESC"))[0]["note"]
    )
    assert (await ledger.verify(kept)).sealed == kept.size
    older = Ledger(ledger.uri, ledger.uri_file, ledger.database, ledger.connection, ledger.key, publics=ledger.publics)
    await ledger.sql("UPDATE credits.tree SET size = 0, sealed_at = NULL")
    for table in ("tree_chains", "tree_tiles", "tree_segments", "checkpoints"):
        await ledger.sql(f"DELETE FROM credits.{table}")  # noqa: S608
    # sealed anew by somebody who has got hold of the key, without the last entries
    await ledger.sql("DELETE FROM credits.events WHERE seq = 3")
    await ledger.sql(
        "UPDATE credits.event_heads h SET seq = 2, hash = e.hash FROM credits.events e "
        "WHERE h.chain_id = 0 AND e.chain_id = 0 AND e.seq = 2"
    )
    await older.seal()
    assert await older.verify()
    assert "the checkpoint that was kept" in (await older.fault(kept)).problem


async def test_a_proof_of_an_altered_row_is_refused_and_says_what_to_do(ledger: Ledger) -> None:
    await ledger.grown()
    transaction_id = ledger.transactions[10]
    proofs = Proofs(ledger.database, seal_interval_s=10)
    assert await proofs.inclusion(ANYBODY, transaction_id)
    await ledger.sql("UPDATE credits.ledger SET amount = amount + 1 WHERE transaction_id = $1", transaction_id)
    with pytest.raises(ProblemError) as caught:
        await proofs.inclusion(ANYBODY, transaction_id)
    assert caught.value.kind is ENTRY_ALTERED
    assert "verify-ledger" in caught.value.detail


async def test_an_export_reads_and_never_writes(ledger: Ledger) -> None:
    await ledger.grown()
    await ledger.sql("DROP ROLE IF EXISTS auditor")
    await ledger.sql("CREATE ROLE auditor LOGIN PASSWORD 'auditor'")
    await ledger.sql("GRANT USAGE ON SCHEMA credits TO auditor")
    await ledger.sql("GRANT SELECT ON ALL TABLES IN SCHEMA credits TO auditor")
    before = await ledger.export()
    ledger.uri_file.write_text("postgresql://auditor:auditor@" + ledger.uri.rpartition("@")[2], encoding="utf-8")
    assert await ledger.export() == before
    connection = await asyncpg.connect(ledger.uri_file.read_text(encoding="utf-8"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM credits.events")
    finally:
        await connection.close()


@pytest.fixture
def nowhere() -> Iterator[IO[bytes]]:
    with Path(os.devnull).open("wb") as opened:
        yield opened


async def test_an_exports_memory_does_not_grow_with_the_ledger(ledger: Ledger, nowhere: IO[bytes]) -> None:
    tenants = [await ledger.tenant() for _ in range(4)]

    async def peak() -> int:
        tracemalloc.start()
        await export_ledger(ledger.uri_file, nowhere)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    for _ in range(100):
        await ledger.consume(tenants * 25)
    await ledger.seal()
    await peak()
    small = await peak()
    for _ in range(300):
        await ledger.consume(tenants * 25)
    await ledger.seal()
    assert await peak() < small + 512 * 1024


class Undone:
    """Everything that is done within is undone after it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        tables = "ledger chain_links chain_heads events event_heads checkpoints tree tree_segments accounts"
        self._tables = tables.split()

    async def __aenter__(self) -> None:
        for table in self._tables:
            await self._ledger.sql(f"CREATE TABLE kept_{table} AS SELECT * FROM credits.{table}")  # noqa: S608

    async def __aexit__(self, *_: object) -> None:
        for table in self._tables:
            await self._ledger.sql(f"DELETE FROM credits.{table}")  # noqa: S608
            await self._ledger.sql(f"INSERT INTO credits.{table} SELECT * FROM kept_{table}")  # noqa: S608
            await self._ledger.sql(f"DROP TABLE kept_{table}")
