"""Numbered .sql files, each applied once, in one transaction, and never edited afterwards.

An advisory lock of the transaction makes two runs at once safe, also behind a pooler. What was applied stands in
`<schema>.schema_migrations` with its SHA-256. A database with newer migrations than ours is fine: the previous
release must run on the schema of the next one.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import asyncpg

from shieldx_runtime.core import log
from shieldx_runtime.core.database import Connection, connect, target_of
from shieldx_runtime.core.faults import describe, is_settled, is_unavailability

WAIT_S: Final = 20.0
_SETTLED_WAIT_S: Final = 5.0
"""A wrong password or a missing database is hardly ever mended by waiting, but a Secret may lag a little."""
_PAUSE_S: Final = 0.5
_LOCK_WAIT: Final = "60s"
_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_logger = log.get(__name__)


class MigrationError(Exception):
    """The schema could not be brought up to date; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations of a folder in order.

    Raises:
        ValueError: a name is not NNNN_words.sql, or the numbers are not 1, 2, 3, ...
    """
    migrations = []
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name):
        match = _FILE_NAME.fullmatch(file.name)
        if not match:
            raise ValueError(f"{file.name}: a migration is named NNNN_words.sql")
        migrations.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    if [m.version for m in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"{folder.name}: migrations must be numbered 1, 2, 3, ... without gap or repetition")
    return tuple(migrations)


def pending(migrations: Sequence[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """What is still to be applied; `applied` maps versions to SHA-256.

    Raises:
        MigrationError: a file is not what was applied under its number, or one was passed over.
    """
    rest = []
    for migration in migrations:
        recorded = applied.get(migration.version)
        if recorded is None:
            rest.append(migration)
        elif recorded != migration.sha256:
            raise MigrationError(
                f"migration {migration.name} is not the one that was applied to this database "
                f"(SHA-256 {migration.sha256[:12]} here, {recorded[:12]} there): "
                "never edit an applied migration, add a new one"
            )
    if rest and applied and rest[0].version < max(applied):
        raise MigrationError(
            f"migration {rest[0].name} was passed over: the database already has version {max(applied)}"
        )
    return rest


def applied_statement(schema: str) -> str:
    return f"SELECT version, sha256 FROM {schema}.schema_migrations"  # noqa: S608 - a name of ours


async def run(uri_file: Path, schema: str, migrations: Sequence[Migration], *, wait_s: float = WAIT_S) -> int:
    """Applies what is missing and returns how many that were. Waits at most `wait_s` for the database.

    Raises:
        MigrationError: with one line that names the database, the cause and the remedy.
    """
    connection = await _connect_patiently(uri_file, wait_s)
    count = 0
    try:
        while await _apply_next(connection, schema, migrations):
            count += 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(describe(error, target_of(uri_file))) from error
    finally:
        await connection.close(timeout=5)
    return count


async def _connect_patiently(uri_file: Path, wait_s: float) -> Connection:
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        try:
            return await connect(uri_file, timeout_s=5, statement_timeout_s=0)
        except Exception as error:
            if not is_unavailability(error):
                raise
            problem = describe(error, target_of(uri_file))
            patience_s = min(wait_s, _SETTLED_WAIT_S) if is_settled(error) else wait_s
            if loop.time() - start + _PAUSE_S > patience_s:
                raise MigrationError(problem) from error
        _logger.info("waiting for the database", problem=problem)
        await asyncio.sleep(_PAUSE_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is no secret


async def lock(connection: Connection, schema: str) -> None:
    """To the end of the transaction: nobody else changes the schema meanwhile. Raises: MigrationError."""
    await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
    try:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", f"migrate {schema}")
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(f"another migration has been running for more than {_LOCK_WAIT}") from error


async def _apply_next(connection: Connection, schema: str, migrations: Sequence[Migration]) -> bool:
    """Applies the first pending migration, if any, in its own transaction and under the lock."""
    async with connection.transaction():
        await lock(connection, schema)
        await _make_record_table(connection, schema)
        rows = await connection.fetch(applied_statement(schema))
        rest = pending(migrations, {r["version"]: r["sha256"] for r in rows})
        if not rest:
            return False
        migration = rest[0]
        try:
            await connection.execute(migration.sql)
        except asyncpg.InsufficientPrivilegeError:
            raise
        except asyncpg.PostgresError as error:
            raise MigrationError(_failure(migration, error)) from error
        await connection.execute(
            f"INSERT INTO {schema}.schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",  # noqa: S608
            migration.version,
            migration.name,
            migration.sha256,
        )
    _logger.info("migration applied", migration=migration.name)
    return True


async def _make_record_table(connection: Connection, schema: str) -> None:
    # looked up first: CREATE SCHEMA IF NOT EXISTS asks for the permission even where there is nothing to create
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.schema_migrations") is None:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(
            f"CREATE TABLE {schema}.schema_migrations ("
            "version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )


def _failure(migration: Migration, error: asyncpg.PostgresError) -> str:
    position = getattr(error, "position", None)
    line = migration.sql[: int(position)].count("\n") + 1 if position else None
    where = f" line {line}" if line else ""
    message = str(error).strip().partition("\n")[0]
    return f"migration {migration.name}{where}: {message} (SQLSTATE {error.sqlstate})"


def schema_problem(migrations: Sequence[Migration], applied: Mapping[int, str]) -> str:
    """What is wrong with a database's schema for this release, or nothing."""
    try:
        rest = pending(migrations, applied)
    except MigrationError as error:
        return str(error)
    return f"migration {rest[0].name} is missing: run `shieldx credits migrate`" if rest else ""
