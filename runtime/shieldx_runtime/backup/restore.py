"""Restoring a copy of the database: into a new one, or in the place of the one that is there."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import asyncpg

from shieldx_runtime.backup import artifacts, postgres
from shieldx_runtime.backup.catalog import Copy
from shieldx_runtime.backup.clock import new_id, now
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import BackupError, NotFoundError, NotProvedError, SettingError
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.postgres import Address
from shieldx_runtime.backup.replay import Replayed, replay
from shieldx_runtime.backup.room import require_scratch, spilled
from shieldx_runtime.backup.segments import Segments
from shieldx_runtime.backup.ship import Shipper
from shieldx_runtime.core import log
from shieldx_runtime.core.database import Connection

BEFORE: Final = "_before_"
"""In the name of a database that a restore has put aside."""
RESTORING: Final = "_restoring_"
_CACHE_TIMEOUT_S: Final = 5
_SHOWN: Final = 5
_FAULTS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, BackupError)
"""What a server that is away, ends or has no room answers with."""
_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class How:
    """`replayed`: with what was shipped after the dump, up to `until` if that is set. `jobs`: connections at once."""

    replayed: bool = True
    until: datetime | None = None
    jobs: int | None = None


class Timeline:
    """What a restore did when, in seconds from its beginning."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.steps: list[dict[str, Any]] = []

    def mark(self, step: str, **details: Any) -> None:
        self.steps.append({"at_s": round(time.monotonic() - self._began_s, 3), "step": step, **details})
        _logger.info("restore", **self.steps[-1])

    @property
    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._began_s, 3)


async def restore_new(context: Context, copy: Copy, target: Address, how: How) -> dict[str, Any]:
    """Restores into a database that does not exist yet or is empty; what was done, as data.

    Raises:
        SettingError: the database has tables.
        NotProvedError: what was restored does not add up; it is left there to be looked at.
        BackupError.
    """
    timeline = Timeline()
    async with _maintenance(target) as connection:
        if target.database not in await postgres.databases(connection):
            await postgres.create(connection, target.database)
            timeline.mark("created", database=target.database)
    async with postgres.connected(target) as connection:
        if not await postgres.is_empty(connection):
            raise SettingError(
                f"{target.name} has tables: name a new database, or restore in place with a confirmation"
            )
    replayed = await fill(context, copy, target, how, timeline)
    return {"target": target.name, **_outcome(copy, replayed, timeline)}


async def restore_in_place(context: Context, copy: Copy, how: How, *, confirm: str) -> dict[str, Any]:
    """Puts the service's database aside, restores under another name, and gives it the name when it is proved.

    From the first step on nobody can write: the name is gone. If anything fails, the old database gets it back. The old
    one stays, under a name with `_before_`, as the safety copy; nobody deletes it but you.

    Raises:
        SettingError: `confirm` is not the service's name.
        NoSpaceError: the scratch folder has no room for the copy: that is known before anything is put aside.
        BusyError: a run or a shipper is at work.
        BackupError: it failed; the service's database is as it was.
    """
    if confirm != context.service:
        raise SettingError(f"confirm: {confirm!r} is not {context.service!r}: a restore in place replaces its database")
    address = _database(context)
    require_scratch(context, copy.manifest)
    timeline = Timeline()
    with context.lease(Stream.DATABASE), context.lease(Stream.AUDIT) as audit_lease:
        async with _maintenance(address) as connection:
            await _drop_leftovers(connection, address)
            put_aside = await _put_aside(connection, address.database, timeline)
            side = _named(address.database, RESTORING)
            try:
                if put_aside and how.replayed and how.until is None:
                    await _ship_rest(replace(context, database=address.sibling(put_aside)), audit_lease, timeline)
                await postgres.create(connection, side)
                replayed = await fill(context, copy, address.sibling(side), how, timeline)
                segments = Segments(context.catalog)
                lines = await asyncio.to_thread(segments.lines)
                if context.ledger and lines:
                    parent = replayed.head if how.replayed else None
                    timeline.mark("audit line begun", line=await asyncio.to_thread(segments.begin_line, parent))
                await postgres.rename(connection, side, address.database)
            except BackupError as error:
                problem = await _rolled_back(connection, address, side, put_aside, timeline)
                if problem:
                    raise type(error)(f"{error}; and then: {problem}") from error
                raise
            except BaseException:
                await _rolled_back(connection, address, side, put_aside, timeline)
                raise
            timeline.mark("serving again", database=address.database, safety_copy=put_aside)
    _flush(context.cache_uri)
    return {"target": address.name, "safety_copy": put_aside, **_outcome(copy, replayed, timeline)}


async def roll_back(address: Address) -> dict[str, Any]:
    """Gives the name back to the newest database that a restore has put aside, if nobody has it now.

    What the restore had begun is dropped: on a full volume it is what is in the way. Where that fails the name is given
    back all the same, and `message` says what is left. Asking again is no fault: where the database is there, nothing
    more is done, and the outcome says so. No key and no copy is needed for it.

    Raises:
        NotFoundError: none was put aside.
    """
    async with _maintenance(address) as connection:
        names = await postgres.databases(connection)
        if address.database in names:
            left = await _left_by(_drop_leftovers(connection, address), address.database)
            said = f"database {address.database!r} is there: there is nothing to roll back"
            return {"rolled_back": False, "message": f"{said}; {left}" if left else said}
        aside = sorted(name for name in names if name.startswith(address.database + BEFORE))
        if not aside:
            raise NotFoundError(f"no database {address.database}{BEFORE}... is there: restore a backup")
        await postgres.rename(connection, aside[-1], address.database)
        left = await _left_by(_drop_leftovers(connection, address), address.database)
        return {"rolled_back": True, "restored_database": aside[-1], **({"message": left} if left else {})}


async def fill(context: Context, copy: Copy, target: Address, how: How, timeline: Timeline) -> Replayed:
    """Fills an empty database with a copy and what was shipped after it, and proves it.

    Raises:
        NotProvedError: rows, checkpoint, sums or chains are not what they must be.
        BackupError.
    """
    manifest = copy.manifest
    require_scratch(context, manifest)
    content = artifacts.load(context.catalog, context.ring, manifest, manifest.artifacts[0], context.deadline.check)
    with contextlib.ExitStack() as stack:
        file = await asyncio.to_thread(stack.enter_context, spilled(content, context.scratch_dir))
        timeline.mark("fetched and unsealed", bytes=manifest.plain_size_bytes)
        await asyncio.to_thread(postgres.restore_file, file, target, context.programs, context.deadline, jobs=how.jobs)
    timeline.mark("restored")
    async with postgres.connected(target, statement_timeout_s=0) as connection:
        await _require_same_rows(connection, copy)
        if context.ledger and manifest.checkpoint:
            found = await context.ledger.checkpoint(connection)
            if found != manifest.checkpoint:
                raise NotProvedError(
                    f"the restored chains end at {found}, the dump's manifest says {manifest.checkpoint}"
                )
        await connection.execute("ANALYZE")
    timeline.mark("compared with the manifest", rows=sum(manifest.rows.values()))
    replayed = Replayed(manifest.audit_head, to=manifest.taken_at)
    if context.ledger:
        with _uri_file(target, context.scratch_dir) as uri_file:
            timeline.mark("schema is current", migrations=await context.ledger.migrate(uri_file))
        if how.replayed:
            replayed = await replay(context, context.ledger, manifest, target, until=how.until)
            timeline.mark("audit log replayed", segments=replayed.segments, rows=replayed.rows, to=replayed.to)
        await _require_books(context, target)
        timeline.mark("sums, balances and chains verified")
    return replayed


async def _require_same_rows(connection: Connection, copy: Copy) -> None:
    found = await postgres.count_rows(connection)
    differing = [
        f"{table}: {found.get(table)} instead of {count}"
        for table, count in copy.manifest.rows.items()
        if found.get(table) != count
    ]
    if differing:
        raise NotProvedError(f"restored rows are not those of the manifest: {'; '.join(differing[:_SHOWN])}")


async def _require_books(context: Context, target: Address) -> None:
    if context.ledger is None:
        return
    async with (
        postgres.connected(target, statement_timeout_s=0) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        problems = await context.ledger.verify(connection)
    if problems:
        raise NotProvedError(
            f"the restored books do not add up ({len(problems)} faults): {'; '.join(problems[:_SHOWN])}"
        )


async def _put_aside(connection: Connection, database: str, timeline: Timeline) -> str | None:
    """The name under which the present database is kept; None where there is none any more."""
    names = await postgres.databases(connection)
    if database in names:
        aside = _named(database, BEFORE)
        await postgres.rename(connection, database, aside)
        timeline.mark("writers stopped, safety copy kept", database=aside)
        return aside
    aside_before = sorted(name for name in names if name.startswith(database + BEFORE))
    timeline.mark("the database is gone", safety_copy=aside_before[-1] if aside_before else None)
    return aside_before[-1] if aside_before else None


async def _drop_leftovers(connection: Connection, address: Address) -> None:
    """What restores that died had begun."""
    for name in await postgres.databases(connection):
        if name.startswith(address.database + RESTORING):
            await postgres.discard(connection, address.sibling(name))


async def _left_by(dropping: Awaitable[None], database: str) -> str | None:
    """What is to do where that fails: a leftover takes room, and nothing else."""
    try:
        await dropping
    except _FAULTS as error:
        said = (
            f"what the restore had begun ({database}{RESTORING}...) could not be dropped and takes room "
            f"({type(error).__name__}: {error}): run `restore --rollback` when the cause is mended"
        )
        _logger.warning("a leftover stays", database=database, problem=said)
        return said
    return None


async def _rolled_back(
    connection: Connection, address: Address, side: str, aside: str | None, timeline: Timeline
) -> str | None:
    """Gives the database its name back; what there is to do where that fails, or what was begun cannot be dropped."""
    try:
        if aside and address.database not in await postgres.databases(connection):
            await postgres.rename(connection, aside, address.database)
            timeline.mark("rolled back", database=address.database)
    except _FAULTS as error:
        problem = (
            f"the rollback failed ({type(error).__name__}: {error}): run `restore --rollback` when the cause is mended"
        )
        timeline.mark("rollback failed", problem=problem)
        return problem
    left = await _left_by(postgres.discard(connection, address.sibling(side)), address.database)
    return f"the service has its database; {left}" if left else None


async def _ship_rest(context: Context, lease: Any, timeline: Timeline) -> None:
    """What the shipper had not shipped yet. A database that is too broken for that is why people restore."""
    try:
        shipped = await Shipper(context, lease).ship()
    except BackupError as error:
        timeline.mark("the rest could not be shipped", problem=str(error))
    else:
        timeline.mark("the rest shipped", rows=shipped.rows)


def _flush(cache_uri: str | None) -> None:
    """Cached balances may be newer than the restored ones. Losing a cache costs hits."""
    if cache_uri is None:
        return
    import redis as redis_client  # noqa: PLC0415 - a third of what every other command would wait for

    try:
        with redis_client.Redis.from_url(
            cache_uri, socket_timeout=_CACHE_TIMEOUT_S, socket_connect_timeout=_CACHE_TIMEOUT_S
        ) as cache:
            cache.flushdb()
    except redis_client.RedisError as error:
        _logger.warning("cache not flushed, balances may be stale until they expire", error=type(error).__name__)


def _database(context: Context) -> Address:
    if context.database is None:
        raise SettingError("no database is named: set SHIELDX_DATABASE_URI_FILE")
    return context.database


def _named(database: str, kind: str) -> str:
    return f"{database[:30]}{kind}{new_id(now()).lower().replace('-', '_')}"


@contextlib.asynccontextmanager
async def _maintenance(address: Address) -> AsyncIterator[Connection]:
    async with postgres.connected(address.sibling(postgres.MAINTENANCE)) as connection:
        yield connection


@contextlib.contextmanager
def _uri_file(address: Address, folder: Path) -> Any:
    with NamedTemporaryFile("w", dir=folder, encoding="utf-8") as file:  # readable for us alone
        file.write(address.uri)
        file.flush()
        yield Path(file.name)


def _outcome(copy: Copy, replayed: Replayed, timeline: Timeline) -> dict[str, Any]:
    return {
        "backup": copy.manifest.backup_id,
        "taken_at": copy.manifest.taken_at,
        "replayed": {k: v for k, v in asdict(replayed).items() if k != "head"},
        "restore_s": timeline.elapsed_s,
        "timeline": timeline.steps,
    }
