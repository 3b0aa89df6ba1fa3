"""The database: a snapshot that a dump and its counts share, the dump, the restore, and databases by name."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg

from shieldx_runtime.backup import tools
from shieldx_runtime.backup.clock import Deadline
from shieldx_runtime.backup.errors import BackupError, NoSpaceError, SettingError, ToolError
from shieldx_runtime.backup.tools import Tools
from shieldx_runtime.core.database import Connection
from shieldx_runtime.core.faults import InvalidUriError, describe, is_unavailability, parse_target
from shieldx_runtime.core.settings import SettingsError, read_secret

_CONNECT_TIMEOUT_S: Final = 10
_STATEMENT_TIMEOUT_S: Final = 60
_DISK_FULL: Final = "No space left on device"
MAINTENANCE: Final = "postgres"
"""The database from which others are made, renamed and dropped."""

_TABLES: Final = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
_END_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
)


class DatabaseError(BackupError):
    """The database cannot be used; the message names it and what to check."""

    reason = "DatabaseUnavailable"


@dataclass(frozen=True, slots=True)
class Address:
    """A database by its URI. What stands in arguments is without the password."""

    uri: str = field(repr=False)

    @property
    def database(self) -> str:
        return parse_target(self.uri).database

    @property
    def name(self) -> str:
        return f"{parse_target(self.uri)}/{self.database}"

    @property
    def argument(self) -> str:
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{parts.username or ''}@{host}"))

    @property
    def secrets(self) -> dict[str, str]:
        """The environment that goes with `argument`."""
        password = urlsplit(self.uri).password
        return {"PGCONNECT_TIMEOUT": str(_CONNECT_TIMEOUT_S)} | ({"PGPASSWORD": unquote(password)} if password else {})

    def sibling(self, database: str) -> "Address":
        """Another database of the same server."""
        return Address(urlunsplit(urlsplit(self.uri)._replace(path="/" + quote(database, safe=""))))


def read_address(file: Path, variable: str) -> Address:
    """Raises: SettingError, the file holds no usable URI."""
    try:
        uri = read_secret(file, variable)
        parse_target(uri)
    except (SettingsError, InvalidUriError) as error:
        raise SettingError(str(error)) from error
    return Address(uri)


@contextlib.asynccontextmanager
async def connected(
    address: Address, *, statement_timeout_s: float = _STATEMENT_TIMEOUT_S
) -> AsyncIterator[Connection]:
    """A connection; a statement timeout of 0 is none.

    Raises:
        DatabaseError: also for a database that goes away inside the block.
    """
    session = {
        "application_name": "shieldx-backup",
        "statement_timeout": str(int(statement_timeout_s * 1000)),
        "idle_in_transaction_session_timeout": "0",
        "timezone": "UTC",
    }
    with _explained(address):
        connection: Connection = await asyncpg.connect(
            address.uri, timeout=_CONNECT_TIMEOUT_S, server_settings=session, command_timeout=None
        )
        try:
            yield connection
        finally:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=5)


@contextlib.asynccontextmanager
async def exported_snapshot(connection: Connection) -> AsyncIterator[str]:
    """A read-only transaction and the name of its snapshot, which pg_dump can share while the block lasts."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield await connection.fetchval("SELECT pg_export_snapshot()")


async def count_rows(connection: Connection) -> dict[str, int]:
    """Rows of each table, by `schema.table`."""
    counts: dict[str, int] = {}
    for table in await connection.fetch(_TABLES):
        name = _quoted(table["schema"], table["name"])
        counts[f"{table['schema']}.{table['name']}"] = await connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608 - quoted names of the catalog
    return counts


def dump(address: Address, snapshot: str, programs: Tools, deadline: Deadline) -> Iterator[bytes]:
    """The dump of a snapshot in pg_dump's custom format, not compressed: what comes after compresses better.

    Raises (while reading):
        ToolError: pg_dump failed; then no end comes, so that nothing can take the dump for a whole one.
    """
    command = [
        programs.pg_dump,
        "--format=custom",
        "--compress=0",
        f"--snapshot={snapshot}",
        "--lock-wait-timeout=60s",
        "--no-password",
        f"--dbname={address.argument}",
    ]
    return tools.output_of(command, deadline, secrets=address.secrets)


def read_through(chunks: Iterable[bytes], programs: Tools, deadline: Deadline) -> None:
    """Makes pg_restore read a whole archive and write it nowhere. `pg_restore -l` would accept one that was cut off.

    Raises:
        ToolError: it cannot be restored.
    """
    tools.feed([programs.pg_restore, "--file=/dev/null"], chunks, deadline, secrets={})


def restore_file(file: Path, address: Address, programs: Tools, deadline: Deadline, *, jobs: int | None = None) -> None:
    """Restores an archive into an empty database, by several connections at once.

    Raises:
        NoSpaceError: the server's volume is full. ToolError: with what PostgreSQL said.
    """
    workers = jobs or max(1, min(4, len(os.sched_getaffinity(0))))
    command = [
        programs.pg_restore,
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        "--no-password",
        f"--jobs={workers}",
        f"--dbname={address.argument}",
        str(file),
    ]
    try:
        tools.run(command, deadline, secrets=address.secrets)
    except ToolError as error:
        if _DISK_FULL in str(error):
            raise _full(address, error) from error
        raise


async def databases(connection: Connection) -> set[str]:
    return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}


async def create(connection: Connection, name: str) -> None:
    """Raises: DatabaseError."""
    await connection.execute(f"CREATE DATABASE {_quoted(name)} TEMPLATE template0 ENCODING 'UTF8'")


async def drop(connection: Connection, name: str) -> None:
    await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")


async def discard(connection: Connection, address: Address) -> None:
    """Drops a database on a volume that may be full.

    DROP DATABASE first writes out all that the server holds, which fails there. Tables that are dropped make room.
    """
    if address.database not in await databases(connection):
        return
    await connection.execute(_END_SESSIONS, address.database)
    with contextlib.suppress(BackupError):  # one that nobody can connect to can still be dropped
        async with connected(address) as inside:
            for table in await inside.fetch(_TABLES):
                await inside.execute(f"DROP TABLE IF EXISTS {_quoted(table['schema'], table['name'])} CASCADE")
    await drop(connection, address.database)


async def rename(connection: Connection, name: str, to: str) -> None:
    """Ends every session of the database and renames it. Whoever connects by the old name is refused from then on.

    Raises:
        DatabaseError: sessions come back faster than they are ended.
    """
    tries = 20
    for attempt in range(tries):
        await connection.execute(_END_SESSIONS, name)
        try:
            await connection.execute(f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(to)}")
        except asyncpg.ObjectInUseError:
            if attempt == tries - 1:
                raise
        else:
            return


async def is_empty(connection: Connection) -> bool:
    return not await connection.fetch(_TABLES)


def server_newer_than_tool(server: str, tool: str) -> bool:
    """Whether pg_dump would refuse: it dumps servers up to its own major version. Both are like `15.6`."""
    return int(server.partition(".")[0]) > int(tool.rsplit(maxsplit=1)[-1].partition(".")[0])


async def require_tool_for(connection: Connection, programs: Tools) -> Mapping[str, str]:
    """Versions of server and tool. Raises: ToolError, pg_dump is older than the server."""
    server = str(await connection.fetchval("SHOW server_version")).split()[0]
    line = tools.version(programs.pg_dump)
    words = [word for word in line.split() if word[:1].isdigit()]
    if words and server_newer_than_tool(server, words[0]):
        raise ToolError(f"pg_dump {words[0]} cannot dump a server {server}: install postgresql-client of its version")
    return {"pg_dump": line, "server": server}


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _full(address: Address, error: Exception) -> NoSpaceError:
    return NoSpaceError(
        f"the volume of {address.name} is full: enlarge it, or drop databases there that earlier restores have put "
        f"aside (`_before_` in their names); PostgreSQL said: {error}"
    )


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except BackupError:
        raise
    except asyncpg.DiskFullError as error:
        raise _full(address, error) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.PostgresError) or is_unavailability(error):
            raise DatabaseError(describe(error, parse_target(address.uri))) from error
        raise
