"""One run: a copy of the database or of the cache, written, read back, and only then called verified."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from shieldx_runtime.backup import artifacts, postgres, redis, tools
from shieldx_runtime.backup import manifest as manifests
from shieldx_runtime.backup.catalog import MANIFEST, Copy
from shieldx_runtime.backup.clock import new_id, now, text_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.destination import Condition
from shieldx_runtime.backup.errors import SettingError
from shieldx_runtime.backup.manifest import AuditHead, Manifest, Stream
from shieldx_runtime.backup.room import DATABASE_BYTES
from shieldx_runtime.backup.segments import FIRST_LINE, Segments
from shieldx_runtime.backup.verify import verify_copy
from shieldx_runtime.core import log

DUMP: Final = "database.dump"
RDB: Final = "cache.rdb"
_logger = log.get(__name__)


def run(context: Context, stream: Stream, *, verify: bool = True) -> dict[str, Any]:
    """Makes one copy of the database or the cache; what it is, as data. Removes what dead runs left before.

    Raises:
        BusyError: another run is at work; LeaseLostError: this one was given up for dead.
        BackupError: it failed; nothing is listed as a backup then.
    """
    with context.lease(stream) as lease:
        catalog = context.catalog
        catalog.sweep(stream, catalog.list(stream).leftovers)
        backup_id = new_id(now())
        began_s = time.monotonic()

        def check() -> None:
            context.deadline.check()
            lease.check()

        _logger.info("backup begins", backup=backup_id, stream=stream, destination=catalog.destination.name)
        if stream is Stream.DATABASE:
            manifest = asyncio.run(_copy_database(context, backup_id, check))
        else:
            manifest = _copy_cache(context, backup_id, check)
        check()
        data = manifests.encode(manifest, context.ring.active)
        catalog.destination.put(catalog.folder(stream, backup_id) + MANIFEST, data, only_if=Condition(absent=True))
        copy = catalog.get(stream, backup_id)
        dump_s = round(time.monotonic() - began_s, 3)
        _logger.info(
            "backup written", backup=backup_id, stream=stream, size_bytes=manifest.size_bytes, duration_s=dump_s
        )
        proof = verify_copy(context, copy, check) if verify else None
    return {**described(copy), "dump_s": dump_s, "verified": proof}


def described(copy: Copy) -> dict[str, Any]:
    """A copy as `--json` shows it."""
    manifest = copy.manifest
    return {
        "id": manifest.backup_id,
        "stream": str(manifest.stream),
        "taken_at": manifest.taken_at,
        "finished_at": manifest.finished_at,
        "size_bytes": manifest.size_bytes,
        "plain_size_bytes": manifest.plain_size_bytes,
        "sha256": [a.sha256 for a in manifest.artifacts],
        "key_id": manifest.key_id,
        "rows": dict(manifest.rows),
        "verified": copy.verified,
        "drilled": copy.drilled,
    }


def audit_head(context: Context) -> AuditHead:
    """The last segment there is, or the place before the first; what a dump that begins now need not be given again."""
    segments = Segments(context.catalog)
    lines = segments.lines()
    if not lines:
        return AuditHead(FIRST_LINE, 0)
    last = segments.last(lines[-1])
    return last.head if last else AuditHead(lines[-1], 0)


async def _copy_database(context: Context, backup_id: str, check: Callable[[], None]) -> Manifest:
    if context.database is None:
        raise SettingError("no database is named: set SHIELDX_DATABASE_URI_FILE")
    # before the snapshot: everything up to it is in the dump
    head = await asyncio.to_thread(audit_head, context)
    async with postgres.connected(context.database, statement_timeout_s=0) as connection:
        versions = await postgres.require_tool_for(connection, context.programs)
        async with postgres.exported_snapshot(connection) as snapshot:
            moment = await connection.fetchval("SELECT now()")
            visible = await connection.fetchval("SELECT pg_current_snapshot()::text")
            size_bytes = await connection.fetchval("SELECT pg_database_size(current_database())")
            rows = await postgres.count_rows(connection)
            checkpoint = await context.ledger.checkpoint(connection) if context.ledger else None
            artifact = await asyncio.to_thread(
                artifacts.store,
                context.catalog,
                context.ring,
                (Stream.DATABASE, backup_id, DUMP),
                postgres.dump(context.database, snapshot, context.programs, context.deadline),
                check,
            )
    return Manifest(
        service=context.service,
        stream=Stream.DATABASE,
        backup_id=backup_id,
        taken_at=text_of(moment),
        finished_at=text_of(now()),
        key_id=context.ring.active_id,
        artifacts=(artifact,),
        tools=versions,
        rows=rows,
        checkpoint=checkpoint,
        audit_head=head,
        details={"snapshot": visible, DATABASE_BYTES: size_bytes},
    )


def _copy_cache(context: Context, backup_id: str, check: Callable[[], None]) -> Manifest:
    if context.cache_uri is None:
        raise SettingError("no cache is named: set SHIELDX_CACHE_URI_FILE")
    moment = now()
    chunks = redis.dump(context.cache_uri, context.programs, context.deadline)
    artifact = artifacts.store(context.catalog, context.ring, (Stream.CACHE, backup_id, RDB), chunks, check)
    return Manifest(
        service=context.service,
        stream=Stream.CACHE,
        backup_id=backup_id,
        taken_at=text_of(moment),
        finished_at=text_of(now()),
        key_id=context.ring.active_id,
        artifacts=(artifact,),
        tools={"redis-cli": tools.version(context.programs.redis_cli or "redis-cli")},
    )
