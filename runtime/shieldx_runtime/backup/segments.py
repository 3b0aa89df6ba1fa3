"""The audit stream as it lies at the destination: lines of numbered segments, each bound to the one before.

A line is one uninterrupted history of a database. A restore to an earlier time begins a new one, which names the
segment of the old one that it branches off from. A segment holds changes (rows, whole) as JSON lines, sealed like
everything else; its manifest is put only where there is none, so that of two shippers only one gets a number.

    <service>/audit/00000001/line.json
    <service>/audit/00000001/20261124/000000000042/{<random>.segment, <random>.position, manifest.json}
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from shieldx_runtime.backup import manifest as manifests
from shieldx_runtime.backup.catalog import MANIFEST, Catalog
from shieldx_runtime.backup.destination import Condition
from shieldx_runtime.backup.errors import ConflictError, DamagedError, GapError, NotFoundError
from shieldx_runtime.backup.frames import open_sealed
from shieldx_runtime.backup.manifest import AuditHead, Manifest, Stream
from shieldx_runtime.backup.streams import Tally, unpack
from shieldx_runtime.core.ledger import Change, Position

LINE_DIGITS: Final = 8
FIRST_LINE: Final = f"{1:0{LINE_DIGITS}d}"
SEQUENCE_DIGITS: Final = 12
_SWEPT_DAYS: Final = 2
_MAX_SWEPT: Final = 1000
_LINE: Final = "line.json"
_ALIVE: Final = "covered.json"
_SEGMENT: Final = ".segment"
_POSITION: Final = ".position"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. `complete`: with it the rows are those of one snapshot; `snapshot`, `snapshot_at`: of which."""

    manifest: Manifest
    manifest_sha256: str
    line: str
    day: str
    sequence: int
    complete: bool
    snapshot: str
    snapshot_at: str
    previous_sha256: str

    @property
    def head(self) -> AuditHead:
        return AuditHead(self.line, self.sequence)


@dataclass(frozen=True, slots=True)
class Segments:
    """The audit stream of one service."""

    catalog: Catalog

    @property
    def _root(self) -> str:
        return self.catalog.folder(Stream.AUDIT)

    def lines(self) -> list[str]:
        """Oldest first."""
        return [name for name in self.catalog.destination.folders(self._root) if name.isdigit()]

    def begin_line(self, parent: AuditHead | None) -> str:
        """The name of a new line. Raises: ConflictError, another shipper has begun one at this moment."""
        lines = self.lines()
        name = f"{int(lines[-1]) + 1:0{LINE_DIGITS}d}" if lines else FIRST_LINE
        body = {"line": name, "parent": {"line": parent.line, "sequence": parent.sequence} if parent else None}
        self.catalog.destination.put(
            f"{self._root}{name}/{_LINE}", manifests.sign(body, self._ring.active), only_if=Condition(absent=True)
        )
        return name

    def parent(self, line: str) -> AuditHead | None:
        """Where a line branches off from. Raises: DamagedError, NotFoundError."""
        data, _ = self.catalog.destination.get(f"{self._root}{line}/{_LINE}")
        document = manifests.authentic(data, self._ring)
        if document.get("line") != line:
            raise DamagedError(f"line {line} of the audit stream carries the record of another one")
        parent = document["parent"]
        return AuditHead(**parent) if parent else None

    def days(self, line: str) -> list[str]:
        return self.catalog.destination.folders(f"{self._root}{line}/")

    def last_number(self, line: str, day: str) -> int:
        """The number of a day's last segment; 0 where it has none."""
        return max(self._numbers(line, day), default=0)

    def last(self, line: str) -> Segment | None:
        """The newest segment of a line."""
        for day in reversed(self.days(line)):
            numbers = self._numbers(line, day)
            if numbers:
                return self.read(line, day, numbers[-1])
        return None

    def after(self, line: str, sequence: int, until: int | None = None) -> Iterator[Segment]:
        """The segments of a line after one, in order, to `until` (inclusive).

        Raises (while reading):
            GapError: one is missing, or was exchanged.
            DamagedError.
        """
        previous: Segment | None = None
        for day in self._days_after(line, sequence):
            for number in self._numbers(line, day):
                if number <= sequence or (until is not None and number > until):
                    continue
                segment = self.read(line, day, number)
                expected = (previous.sequence if previous else sequence) + 1
                if number != expected:
                    raise GapError(f"segment {expected} of line {line} is missing: entries after it cannot be replayed")
                if previous and segment.previous_sha256 != previous.manifest_sha256:
                    raise GapError(
                        f"segment {number} of line {line} does not follow the one before it: one was exchanged"
                    )
                yield segment
                previous = segment
        reached = previous.sequence if previous else sequence
        if until is not None and reached < until:
            raise GapError(f"segment {reached + 1} of line {line} is missing: entries after it cannot be replayed")

    def read(self, line: str, day: str, sequence: int) -> Segment:
        """The manifest of a segment. Raises: DamagedError, NotFoundError."""
        data, _ = self.catalog.destination.get(self.folder(line, day, sequence) + MANIFEST)
        manifest = manifests.decode(data, self._ring)
        details = manifest.details
        if manifest.backup_id != backup_id(line, day, sequence) or manifest.service != self.catalog.service:
            raise DamagedError(f"segment {sequence} of line {line} carries the manifest of another one")
        return Segment(
            manifest, manifests.digest(data), line, day, sequence,
            complete=details["complete"], snapshot=details["snapshot"], snapshot_at=details["snapshot_at"],
            previous_sha256=details["previous_sha256"],
        )  # fmt: skip

    def changes(self, segment: Segment) -> list[Change]:
        """What a segment holds. Raises: DamagedError, WrongKeyError."""
        text = self._content(segment, _SEGMENT)
        return [Change(c["table"], c["tokens"], tuple(c["rows"])) for c in map(json.loads, text.split("\n"))]

    def position_at(self, line: str) -> Position:
        """How far a line has come: the newest kept position, and every segment after it."""
        behind: list[Segment] = []
        position: Position = {}
        for name, until in reversed(self.lineage(line)):
            for segment in self._backwards(name, until):
                if any(a.key.endswith(_POSITION) for a in segment.manifest.artifacts):
                    position = json.loads(self._content(segment, _POSITION))
                    break
                behind.append(segment)
            else:
                continue
            break
        for segment in reversed(behind):
            apply(position, self.changes(segment))
        return position

    def lineage(self, line: str) -> list[tuple[str, int | None]]:
        """The way to the end of a line: each line that it came through, and where that was left (None: at its end).

        Raises:
            DamagedError: lines name each other in a circle.
        """
        way: list[tuple[str, int | None]] = [(line, None)]
        while parent := self.parent(way[0][0]):
            if parent.line in {name for name, _ in way}:
                raise DamagedError(f"line {parent.line} of the audit stream is its own parent")
            way.insert(0, (parent.line, parent.sequence))
        return way

    def mark_covered(self, line: str, snapshot_at: str) -> None:
        """Says that everything up to that moment of the database has been shipped, also when there was nothing."""
        body = {"line": line, "snapshot_at": snapshot_at}
        self.catalog.destination.put(f"{self._root}{line}/{_ALIVE}", manifests.sign(body, self._ring.active))

    def covered_to(self, line: str) -> str | None:
        """The moment up to which everything has been shipped, by the database's clock."""
        try:
            data, _ = self.catalog.destination.get(f"{self._root}{line}/{_ALIVE}")
        except NotFoundError:
            return None
        text: str = manifests.authentic(data, self._ring)["snapshot_at"]
        return text

    def folder(self, line: str, day: str, sequence: int) -> str:
        return self.catalog.folder(Stream.AUDIT, backup_id(line, day, sequence))

    def leftovers(self, line: str) -> list[str]:
        """Objects of a line's last days that have no manifest: a shipper died before it could put one."""
        found: list[str] = []
        for day in self.days(line)[-_SWEPT_DAYS:]:
            prefix = f"{self._root}{line}/{day}/"
            keys = [f.key for f in self.catalog.destination.find(prefix)]
            whole = {key.removesuffix(MANIFEST) for key in keys if key.endswith(MANIFEST)}
            found += [key for key in keys if key[: key.rindex("/") + 1] not in whole]
        return found[:_MAX_SWEPT]

    @property
    def _ring(self) -> Any:
        if self.catalog.ring is None:
            raise ValueError("the audit stream cannot be read without keys")
        return self.catalog.ring

    def _numbers(self, line: str, day: str) -> list[int]:
        prefix = f"{self._root}{line}/{day}/"
        keys = (found.key.removeprefix(prefix) for found in self.catalog.destination.find(prefix))
        return sorted(int(key.partition("/")[0]) for key in keys if key.endswith("/" + MANIFEST))

    def _days_after(self, line: str, sequence: int) -> list[str]:
        """The days that may hold what follows a segment: from the last day that begins at or before it."""
        days = self.days(line)
        later = list(takewhile(lambda day: (self._numbers(line, day) or [0])[0] > sequence, reversed(days)))
        return days[max(0, len(days) - len(later) - 1) :]

    def _backwards(self, line: str, until: int | None) -> Iterator[Segment]:
        for day in reversed(self.days(line)):
            for number in reversed(self._numbers(line, day)):
                if until is None or number <= until:
                    yield self.read(line, day, number)

    def _content(self, segment: Segment, suffix: str) -> str:
        artifact = next(a for a in segment.manifest.artifacts if a.key.endswith(suffix))
        data, _ = self.catalog.destination.get(
            self.catalog.folder(Stream.AUDIT, segment.manifest.backup_id) + artifact.key
        )
        stored, plain = Tally(), Tally()
        header, frames = open_sealed(stored.through([data]), self._ring, context=segment.manifest.context(artifact.key))
        text = b"".join(plain.through(unpack(frames, header.codec)))
        if stored.sha256 != artifact.sha256 or plain.sha256 != artifact.plain_sha256:
            raise DamagedError(f"{artifact.key} of segment {segment.sequence} is not what its manifest says")
        return text.decode()


def backup_id(line: str, day: str, sequence: int) -> str:
    return f"{line}/{day}/{sequence:0{SEQUENCE_DIGITS}d}"


def apply(position: Position, changes: Iterable[Change]) -> None:
    """Moves a position by changes."""
    for change in changes:
        known = position.setdefault(change.table, {})
        for key, token in change.tokens.items():
            if token is None:
                known.pop(key, None)
            else:
                known[key] = token


def claimed(error: ConflictError, line: str, sequence: int) -> GapError:
    return GapError(
        f"segment {sequence} of line {line} was shipped by somebody else ({error}): stop one of the two shippers"
    )
