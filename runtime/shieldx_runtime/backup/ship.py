"""Shipping the audit log: what is new in the ledger, as a segment at most every minute or 8 MiB, until told to end."""

import asyncio
import json
import random
import secrets
import signal
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from shieldx_runtime.backup import manifest as manifests
from shieldx_runtime.backup import postgres
from shieldx_runtime.backup.catalog import MANIFEST
from shieldx_runtime.backup.clock import now, text_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.destination import Condition
from shieldx_runtime.backup.errors import ConflictError, DestinationError, GapError, SettingError
from shieldx_runtime.backup.frames import seal
from shieldx_runtime.backup.lease import Lease
from shieldx_runtime.backup.manifest import Artifact, Manifest, Stream
from shieldx_runtime.backup.segments import Segment, Segments, apply, backup_id, claimed
from shieldx_runtime.backup.streams import CODEC_ZSTD, Tally, compress
from shieldx_runtime.core import log
from shieldx_runtime.core.ledger import Change, LedgerGapError, Position

SEGMENT_BYTES: Final = 8 << 20
INTERVAL_S: Final = 60.0
_POSITION_EVERY: Final = 64
"""Segments between two kept positions: what a resume reads at most."""
_PAUSE_MAX_S: Final = 30.0
_logger = log.get(__name__)


@dataclass(slots=True)
class Shipped:
    """What one look shipped. `snapshot_at` is the database's own time: everything up to it is at the destination."""

    line: str
    segments: int = 0
    rows: int = 0
    size_bytes: int = 0
    snapshot_at: str = ""


class Shipper:
    """Resumes where the stream ends. To be used under the lease of the audit stream."""

    def __init__(self, context: Context, lease: Lease, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        if context.ledger is None or context.database is None:
            raise SettingError("no ledger is named: set SHIELDX_DATABASE_URI_FILE")
        self._context = context
        self._ledger = context.ledger
        self._database = context.database
        self._lease = lease
        self._segment_bytes = segment_bytes
        self._segments = Segments(context.catalog)
        self._line = ""
        self._last: Segment | None = None
        self._position: Position | None = None

    async def ship(self) -> Shipped:
        """Ships what is new.

        Raises:
            GapError: the database does not continue the stream.
            DestinationError, DatabaseError: try again later; nothing is lost.
        """
        try:
            if self._position is None:
                await asyncio.to_thread(self._resume)
            return await self._look()
        except LedgerGapError as error:
            self._position = None
            raise GapError(str(error)) from error
        except BaseException:
            # whether the last put took effect is unknown: the destination tells
            self._position = None
            raise

    def _resume(self) -> None:
        lines = self._segments.lines()
        self._line = lines[-1] if lines else self._segments.begin_line(None)
        self._last = self._segments.last(self._line)
        self._position = self._segments.position_at(self._line)
        for key in self._segments.leftovers(self._line):
            self._context.destination.delete(key)
        _logger.info("audit stream resumed", line=self._line, sequence=self._last.sequence if self._last else 0)

    async def _look(self) -> Shipped:
        position = self._position if self._position is not None else {}
        shipped = Shipped(self._line)
        async with (
            postgres.connected(self._database, statement_timeout_s=0) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            shipped.snapshot_at = text_of(await connection.fetchval("SELECT now()"))
            snapshot = await connection.fetchval("SELECT pg_current_snapshot()::text")
            held: list[Change] = []
            size_bytes = 0
            async for change in self._ledger.changes(connection, position):
                if not (change.rows or change.tokens):
                    continue
                line = _encoded(change)
                if held and size_bytes + len(line) > self._segment_bytes:
                    await asyncio.to_thread(self._put, held, snapshot, shipped, complete=False)
                    held, size_bytes = [], 0
                held.append(change)
                size_bytes += len(line)
        if held:
            await asyncio.to_thread(self._put, held, snapshot, shipped, complete=True)
        await asyncio.to_thread(self._segments.mark_covered, self._line, shipped.snapshot_at)
        return shipped

    def _put(self, changes: list[Change], snapshot: str, shipped: Shipped, *, complete: bool) -> None:
        """Puts one segment, its manifest last. Moves the position only when that is there."""
        self._lease.check()
        sequence = (self._last.sequence if self._last else 0) + 1
        # a clock that was set back must not put a segment among those of an earlier day
        day = max(now().strftime("%Y%m%d"), self._last.day if self._last else "")
        position: Position = {table: dict(tokens) for table, tokens in (self._position or {}).items()}
        apply(position, changes)
        name = backup_id(self._line, day, sequence)
        contents = {"segment": b"\n".join(_encoded(change) for change in changes)}
        if sequence % _POSITION_EVERY == 0:
            contents["position"] = json.dumps(position, separators=(",", ":")).encode()
        artifacts = tuple(self._seal(name, suffix, data) for suffix, data in contents.items())
        manifest = Manifest(
            service=self._context.service,
            stream=Stream.AUDIT,
            backup_id=name,
            taken_at=shipped.snapshot_at,
            finished_at=text_of(now()),
            key_id=self._context.ring.active_id,
            artifacts=artifacts,
            rows=_rows(changes),
            details={
                "complete": complete,
                "snapshot": snapshot,
                "snapshot_at": shipped.snapshot_at,
                "previous_sha256": self._last.manifest_sha256 if self._last else "",
            },
        )
        self._lease.check()
        key = self._segments.folder(self._line, day, sequence) + MANIFEST
        data = manifests.encode(manifest, self._context.ring.active)
        try:
            self._context.destination.put(key, data, only_if=Condition(absent=True), retain_until=self._retain_until)
        except ConflictError as error:
            raise claimed(error, self._line, sequence) from error
        self._last, self._position = self._segments.read(self._line, day, sequence), position
        shipped.segments += 1
        shipped.rows += sum(len(change.rows) for change in changes)
        shipped.size_bytes += manifest.size_bytes

    def _seal(self, name: str, suffix: str, data: bytes) -> Artifact:
        key = f"{secrets.token_hex(8)}.{suffix}"
        plain, stored = Tally(), Tally()
        context = manifests.context_of(self._context.service, Stream.AUDIT, name, key)
        sealed = seal(compress(plain.through([data])), self._context.ring.active, codec=CODEC_ZSTD, context=context)
        body = b"".join(stored.through(sealed))
        place = self._context.catalog.folder(Stream.AUDIT, name) + key
        self._context.destination.put(place, body, retain_until=self._retain_until)
        return Artifact(key, stored.size_bytes, stored.sha256, plain.size_bytes, plain.sha256)

    @property
    def _retain_until(self) -> Any:
        return now() + timedelta(days=self._context.keep_audit_days)


async def ship_for_ever(context: Context, *, interval_s: float = INTERVAL_S, once: bool = False) -> Shipped:
    """Ships until SIGTERM, then once more. With `once`, ships what there is and ends; what the last look shipped.

    Faults of the database and of the destination are waited out, with jitter; with `once` they end it.

    Raises:
        GapError, BusyError, LeaseLostError, SettingError; with `once` also DestinationError and DatabaseError.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    with context.lease(Stream.AUDIT) as lease:
        shipper = Shipper(context, lease)
        failures = 0
        while True:
            last = once or ended.is_set()
            began_s = time.monotonic()
            try:
                shipped = await shipper.ship()
            except (DestinationError, postgres.DatabaseError) as error:
                if last:
                    raise
                failures += 1
                _logger.warning("audit log not shipped, trying again", problem=str(error), reason=error.reason)
            else:
                failures = 0
                _logger.info("audit log shipped", **asdict(shipped), duration_s=round(time.monotonic() - began_s, 3))
                if last:
                    return shipped
            lease.check()
            pause_s = interval_s if not failures else random.uniform(0.5, min(_PAUSE_MAX_S, 2.0**failures))  # noqa: S311 - jitter
            try:
                await asyncio.wait_for(ended.wait(), max(0.0, pause_s - (time.monotonic() - began_s)))
            except TimeoutError:
                continue


def _encoded(change: Change) -> bytes:
    body = {"table": change.table, "tokens": dict(change.tokens), "rows": list(change.rows)}
    return json.dumps(body, separators=(",", ":")).encode()


def _rows(changes: list[Change]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for change in changes:
        counts[change.table] = counts.get(change.table, 0) + len(change.rows)
    return counts
