"""Bringing a restored dump up to date with the audit stream."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from shieldx_runtime.backup import postgres
from shieldx_runtime.backup.clock import moment_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import GapError
from shieldx_runtime.backup.manifest import AuditHead, Manifest
from shieldx_runtime.backup.segments import Segment, Segments
from shieldx_runtime.backup.snapshots import covers
from shieldx_runtime.core import log
from shieldx_runtime.core.database import Connection
from shieldx_runtime.core.ledger import Change, Ledger

_logger = log.get(__name__)


@dataclass(slots=True)
class Replayed:
    """`head`: the last segment that is in the database. `to`: the moment that the database is of, by its own clock."""

    head: AuditHead | None = None
    segments: int = 0
    rows: int = 0
    to: str = ""


async def replay(
    context: Context, ledger: Ledger, manifest: Manifest, target: postgres.Address, *, until: datetime | None = None
) -> Replayed:
    """Replays what was shipped after a dump, each group of segments in one transaction. `until` leaves out later ones.

    Raises:
        GapError: a segment is missing.
        DamagedError, WrongKeyError, DestinationError, DatabaseError.
    """
    done = Replayed(manifest.audit_head, to=manifest.taken_at)
    if manifest.audit_head is None:
        return done
    segments = Segments(context.catalog)
    way = await asyncio.to_thread(_way, segments, manifest.audit_head)
    async with postgres.connected(target, statement_timeout_s=0) as connection:
        for line, start, end in way:
            group: list[Segment] = []
            for segment in await asyncio.to_thread(lambda a=line, b=start, c=end: list(segments.after(a, b, c))):  # type: ignore[misc]
                context.deadline.check()
                if until is not None and moment_of(segment.snapshot_at) > until:
                    return done
                group.append(segment)
                if segment.complete:
                    await _apply(connection, ledger, segments, manifest, group, done)
                    group = []
    return done


async def _apply(
    connection: Connection,
    ledger: Ledger,
    segments: Segments,
    manifest: Manifest,
    group: list[Segment],
    done: Replayed,
) -> None:
    last = group[-1]
    done.head = last.head
    same_line = manifest.audit_head is not None and last.line == manifest.audit_head.line
    if same_line and covers(manifest.details["snapshot"], last.snapshot):
        return  # shipped after the head was looked up and before the dump's snapshot: the dump has it, and newer rows
    async with connection.transaction():
        for segment in group:
            changes: list[Change] = await asyncio.to_thread(segments.changes, segment)
            done.rows += await ledger.replay(connection, changes)
    done.segments += len(group)
    done.to = last.snapshot_at
    _logger.info("audit segments replayed", line=last.line, sequence=last.sequence, to=last.snapshot_at)


def _way(segments: Segments, head: AuditHead) -> list[tuple[str, int, int | None]]:
    """What follows a head to the end of the newest line: line, segment after which, segment to which."""
    lines = segments.lines()
    if not lines and not head.sequence:
        return []  # nothing has ever been shipped
    if not lines:
        raise GapError(f"the audit stream is gone: the dump was taken when it had come to line {head.line}")
    way = segments.lineage(lines[-1])
    names = [line for line, _ in way]
    if head.line not in names:
        raise GapError(
            f"the dump belongs to line {head.line} of the audit stream, which was given up: "
            "restore it without replay, or take a later dump"
        )
    rest = way[names.index(head.line) :]
    if rest[0][1] is not None and rest[0][1] < head.sequence:
        raise GapError(
            f"the dump was taken at segment {head.sequence} of line {head.line}, which was left at segment "
            f"{rest[0][1]} by a later restore: restore it without replay, or take a later dump"
        )
    return [(line, head.sequence if line == head.line else 0, until) for line, until in rest]
