"""The ledger as a backup sees it: which rows are new since a position, and how they are written back.

Entries (ledger and audit chains) only ever follow each other: what is new of a tenant or chain is what follows its last
known number, and a number that is missing or is not of the row that was shipped is a gap. Every other table,
also one that a later migration adds, is compared row by row by digests. Answers to idempotency keys go along with
the entries that they belong to; a 402 took nothing and is decided anew.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib import resources
from pathlib import Path
from typing import Any, Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Connection
from shieldx_runtime.core.ledger import Change, Checkpoint, LedgerGapError, Position
from shieldx_runtime.core.migrations import run as run_migrations
from shieldx_runtime.core.roles import Rights, admit_where_known
from shieldx_runtime.credits import roles, verify
from shieldx_runtime.credits.repository import SCHEMA, migrations

_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "archive.sql")
_ANSWERS: Final = "idempotency"
_ROLES: Final = "service_roles"
_ROWS: Final = 500
_GROUPS: Final = 200
"""Tenants or chains asked for in one statement."""
_MIGRATION_WAIT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    key_columns: tuple[str, ...]

    @property
    def key(self) -> str:
        return ", ".join(f"r.{_quoted(column)}" for column in self.key_columns)


@dataclass(frozen=True, slots=True)
class _Entries:
    """A table of numbered entries: 1, 2, 3, ... in each group. `groups` is the table that has a row for each group."""

    table: str
    groups: str
    group: str
    group_type: str
    number: str

    @property
    def names(self) -> dict[str, str]:
        names = {name: _quoted(getattr(self, name)) for name in ("table", "groups", "group", "number")}
        return {**names, "group_type": self.group_type}


_ENTRIES: Final = {
    "ledger": _Entries("ledger", "accounts", "tenant_id", "text", "version"),
    "audit": _Entries("audit", "accounts", "tenant_id", "text", "version"),
    "events": _Entries("events", "event_heads", "chain_id", "integer", "seq"),
    "chain_links": _Entries("chain_links", "chain_heads", "chain_id", "integer", "seq"),
}


class CreditsLedger:
    """Implements `core.ledger.Ledger` for the schema of this release.

    `beside` are the rights in schemas of other services that stand in the same database, and are restored with it.
    """

    schema: Final = SCHEMA

    def __init__(self, beside: Sequence[Rights] = ()) -> None:
        self._beside = tuple(beside)

    async def checkpoint(self, connection: Connection) -> Checkpoint:
        return await verify.checkpoint(connection)

    async def verify(self, connection: Connection) -> list[str]:
        return await verify.verify(connection)

    async def migrate(self, uri_file: Path) -> int:
        applied = await run_migrations(uri_file, SCHEMA, migrations(), wait_s=_MIGRATION_WAIT_S)
        # a dump brings no privileges along
        await roles.admit(uri_file, None)
        for rights in self._beside:
            await admit_where_known(uri_file, rights)
        return applied

    async def changes(self, connection: Connection, position: Position) -> AsyncIterator[Change]:
        for table in await _tables(connection):
            known = position.get(table.name, {})
            if table.name in _ENTRIES:
                async for change in _new_entries(connection, _ENTRIES[table.name], known):
                    yield change
                    if table.name == "ledger":
                        yield await _answers(connection, change)
            else:
                async for change in _changed_rows(connection, table, known):
                    yield change

    async def replay(self, connection: Connection, changes: list[Change]) -> int:
        tables = {table.name: table for table in await _tables(connection)}
        await connection.execute(_SQL["maintain"])
        written = 0
        for change in changes:
            if change.table not in (*tables, _ANSWERS):
                raise LedgerGapError(
                    f"the audit stream has rows of {change.table!r}, which this release does not know: "
                    "restore with the release that wrote them, or a newer one"
                )
            written += await _write(connection, tables.get(change.table), change)
        if any(change.table == _ROLES for change in changes):
            await roles.grant(connection)
        for row in await connection.fetch(_SQL["sequences"]):
            statement = _filled("advance_sequence", table=_quoted(row["table"]), column=row["column"])
            await connection.fetchval(statement, row["sequence"])
        return written


async def _tables(connection: Connection) -> list[_Table]:
    """In an order in which rows can be written: what is referred to comes first."""
    rows = {row["name"]: row for row in await connection.fetch(_SQL["tables"]) if row["name"] != _ANSWERS}
    order = TopologicalSorter({name: {t for t in row["refers_to"] if t in rows} for name, row in rows.items()})
    for name, row in rows.items():
        if not row["key_columns"]:
            raise LedgerGapError(f"table {SCHEMA}.{name} has no primary key: its rows cannot be shipped; add one")
    return [_Table(name, tuple(rows[name]["key_columns"])) for name in order.static_order()]


async def _new_entries(connection: Connection, entries: _Entries, known: Mapping[str, str]) -> AsyncIterator[Change]:
    rows = await connection.fetch(_filled("heads", **entries.names))
    heads: dict[str, int] = {row["key"]: row["number"] for row in rows}
    after = {key: _number(token) for key, token in known.items()}
    for key, number in after.items():
        if heads.get(key, 0) < number:
            raise LedgerGapError(
                f"{SCHEMA}.{entries.table}: {number} entries of {key!r} were shipped and the database has "
                f"{heads.get(key, 0)}: it was set back or replaced; restore it with replay, "
                "or begin a new line of the stream if that is what you wanted"
            )
    behind = [key for key, number in sorted(heads.items()) if number > after.get(key, 0)]
    statement = _filled("entries_after", **entries.names)
    for start in range(0, len(behind), _GROUPS):
        keys = behind[start : start + _GROUPS]
        pending = _Pending(entries.table, {key: known[key] for key in keys if key in known})
        numbers = [max(1, after.get(key, 0)) for key in keys]
        async for row in connection.cursor(statement, keys, numbers, prefetch=_ROWS):
            pending.take(row["key"], row["number"], row["token"], row["row"])
            if len(pending.rows) >= _ROWS:
                yield pending.change()
        if pending.rows:
            yield pending.change()


class _Pending:
    """Entries on their way into changes; sees to it that none is missing between what is known and what is new."""

    def __init__(self, table: str, known: Mapping[str, str]) -> None:
        self._table = table
        self._tokens = dict(known)
        self._moved: dict[str, str | None] = {}
        self.rows: list[dict[str, Any]] = []

    def take(self, key: str, number: int, token: str, row: str) -> None:
        last = self._tokens.get(key)
        if last is not None and number == _number(last) and key not in self._moved:
            if last != f"{number}:{token}":
                raise self._gap(key, number, "is not the one that was shipped")
            return
        expected = (_number(last) if last else 0) + 1
        if number != expected:
            raise self._gap(key, expected, "is missing")
        self._tokens[key] = self._moved[key] = f"{number}:{token}"
        self.rows.append(json.loads(row))

    def change(self) -> Change:
        change = Change(self._table, self._moved, tuple(self.rows))
        self._moved, self.rows = {}, []
        return change

    def _gap(self, key: str, number: int, problem: str) -> LedgerGapError:
        return LedgerGapError(
            f"{SCHEMA}.{self._table}: entry {number} of {key!r} {problem}: the table was tampered with, or another "
            "database stands there; run `shieldx credits verify`, and begin a new line only when that is explained"
        )


async def _answers(connection: Connection, entries: Change) -> Change:
    tenants = [row["tenant_id"] for row in entries.rows]
    keys = [row["idempotency_key"] for row in entries.rows]
    rows = await connection.fetch(_SQL["answers_to"], tenants, keys)
    return Change(_ANSWERS, {}, tuple(json.loads(row["row"]) for row in rows))


async def _changed_rows(connection: Connection, table: _Table, known: Mapping[str, str]) -> AsyncIterator[Change]:
    gone = set(known)
    changed: dict[str, str | None] = {}
    for_tokens = _filled("tokens", table=_quoted(table.name), key=table.key)
    for_rows = _filled("rows_of", table=_quoted(table.name), key=table.key)
    async for row in connection.cursor(for_tokens, prefetch=_ROWS * 4):
        gone.discard(row["key"])
        if known.get(row["key"]) != row["token"]:
            changed[row["key"]] = row["token"]
    keys = list(changed)
    for start in range(0, len(keys), _ROWS):
        wanted = keys[start : start + _ROWS]
        rows = await connection.fetch(for_rows, wanted)
        yield Change(table.name, {key: changed[key] for key in wanted}, tuple(json.loads(row["row"]) for row in rows))
    if gone:
        yield Change(table.name, dict.fromkeys(sorted(gone)), ())


async def _write(connection: Connection, table: _Table | None, change: Change) -> int:
    removed = [key for key, token in change.tokens.items() if token is None]
    if table and removed:
        await connection.execute(_filled("remove", table=_quoted(table.name), key=table.key), removed)
    if not change.rows:
        return 0
    # columns that the rows do not have keep their defaults: the rows may be of an older schema
    columns = list(change.rows[0])
    names = {"table": _quoted(change.table), "columns": _list(columns)}
    if table is None:
        statement = _filled("answer", **names)
    elif change.table in _ENTRIES:
        statement = _filled("append", **names)
    else:
        assignments = ", ".join(f"{_quoted(c)} = excluded.{_quoted(c)}" for c in columns)
        statement = _filled("upsert", key_columns=_list(table.key_columns), assignments=assignments, **names)
    tag = await connection.execute(statement, json.dumps(change.rows))
    return int(tag.rpartition(" ")[2])


def _number(token: str) -> int:
    return int(token.partition(":")[0])


def _filled(name: str, **values: str) -> str:
    text = _SQL[name]
    for place, value in values.items():
        text = text.replace(f"<{place}>", value)
    return text


def _list(columns: Iterable[str]) -> str:
    return ", ".join(_quoted(column) for column in columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
