"""Writes the whole ledger as an export: every entry in the order of the tree, the checkpoints between them.

Reads one snapshot, through cursors: memory does not grow with the ledger. What the tables have lost or changed is
written as it is found; to say so is the business of whoever verifies the export.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Connection, Record, connect
from shieldx_runtime.core.merkle import split
from shieldx_runtime.credits.export_format import (
    EVENTS_CHAIN,
    FORMAT,
    End,
    Entry,
    Header,
    Link,
    Note,
    Segment,
    encode,
)
from shieldx_runtime.credits.export_format import Record as Line
from shieldx_runtime.credits.sealing_plan import ORIGIN_PREFIX

_PREFETCH: Final = 16
_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_SEQ: Final = 2**63 - 1
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "export.sql")


@dataclass(frozen=True, slots=True)
class Summary:
    entries: int
    checkpoints: int


async def export_ledger(uri_file: Path, out: IO[bytes]) -> Summary:
    """Writes the export of the database that the URI file leads to.

    Raises:
        InvalidUriError: the file has no usable URI.
        OSError, TimeoutError, asyncpg.PostgresError: the database cannot be read, or `out` not written.
    """
    connection = await connect(uri_file, timeout_s=_CONNECT_TIMEOUT_S, statement_timeout_s=0)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.fetch(_SQL["one_snapshot"])
            return await _write(connection, out)
    finally:
        await connection.close(timeout=5)


async def _write(connection: Connection, out: IO[bytes]) -> Summary:
    digest = hashlib.sha256()
    entries = checkpoints = 0
    async for line in _lines(connection):
        text = encode(line)
        digest.update(text)
        out.write(text)
        entries += isinstance(line, Entry)
        checkpoints += isinstance(line, Note)
    ends = await connection.fetch(_SQL["ends"])
    chains = [(end["chain_id"], end["seq"], end["hash"].hex()) for end in ends if end["seq"]]
    out.write(encode(End(entries, checkpoints, chains, digest.hexdigest())))
    out.flush()
    return Summary(entries, checkpoints)


async def _lines(connection: Connection) -> AsyncIterator[Line]:
    ledger_id = await connection.fetchval(_SQL["ledger_id"])
    yield Header(FORMAT, f"{ORIGIN_PREFIX}{ledger_id}")
    notes = aiter(connection.cursor(_SQL["checkpoints"], prefetch=_PREFETCH))
    note = await anext(notes, None)
    async for segment in connection.cursor(_SQL["segments"], prefetch=_PREFETCH):
        # a checkpoint stands behind the last entry that it is over
        while note is not None and note["size"] <= segment["first_index"]:
            yield Note(note["note"])
            note = await anext(notes, None)
        taken = Segment(segment["chain_id"], segment["first_seq"], segment["last_seq"], segment["leaves"])
        yield taken
        async for line in _links(connection, taken.chain, taken.first_seq, taken.last_seq):
            yield line
    while note is not None:
        yield Note(note["note"])
        note = await anext(notes, None)
    for end in await connection.fetch(_SQL["ends"]):
        async for line in _links(connection, end["chain_id"], end["sealed_seq"] + 1, _MAX_SEQ):
            yield line


async def _links(connection: Connection, chain_id: int, first_seq: int, last_seq: int) -> AsyncIterator[Line]:
    statement = _SQL["links" if chain_id > EVENTS_CHAIN else "events"]
    async for row in connection.cursor(statement, chain_id, first_seq, last_seq, prefetch=_PREFETCH):
        leaves = split(row["leaves"])
        yield Link(chain_id, row["seq"], len(leaves), row["hash"].hex())
        texts = _texts(row)
        for position, leaf in enumerate(leaves):
            yield Entry(leaf.hex(), texts.get(position))


def _texts(row: Record) -> dict[int, str]:
    return dict(zip(row["positions"] or (), row["entries"] or (), strict=True))
