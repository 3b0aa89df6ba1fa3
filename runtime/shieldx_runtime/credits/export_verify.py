"""Whether an export of the ledger is what was signed: needs the export and the public key, nothing else.

Reads line by line and remembers a few hashes, so that the size of an export does not matter. Pure but for reading.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Final, NoReturn

from shieldx_runtime.core.checkpoint import Checkpoint, CheckpointError, Verifier
from shieldx_runtime.core.merkle import HASH_BYTES, Frontier, leaf_hash
from shieldx_runtime.credits.export_format import (
    FORMAT,
    MAX_LEAVES,
    MAX_LINE_BYTES,
    End,
    Entry,
    ExportFormatError,
    Header,
    Link,
    Note,
    Record,
    Segment,
    chain_hash,
    chains_digest,
    decode,
    describe,
)

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MAX_CHAINS: Final = 10_000
_START: Final = (0, bytes(HASH_BYTES))


class BadExportError(Exception):
    """The first thing in an export that is wrong. `line` counts from 1; `index` is the entry's, from 0."""

    def __init__(self, line: int, index: int, problem: str) -> None:
        super().__init__(f"line {line}, entry {index}: {problem}")
        self.line = line
        self.index = index
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Report:
    """What a good export holds. `sealed` of the `entries` are under the last checkpoint."""

    origin: str
    entries: int
    sealed: int
    chains: int
    checkpoints: int
    root: str
    signed_at: datetime | None


@dataclass(slots=True)
class _Open:
    """A link whose entries are being read."""

    line: int
    link: Link
    leaves: bytearray = field(default_factory=bytearray)

    @property
    def place(self) -> str:
        return f"chain {self.link.chain} link {self.link.seq}"


def verify(stream: IO[bytes], verifier: Verifier, expected: Sequence[Checkpoint] = ()) -> Report:
    """Reads a whole export. `expected` are checkpoints that the caller has kept: the export must contain them.

    Raises:
        BadExportError: names the first line and entry that is wrong.
    """
    reading = _Reading(verifier, {checkpoint.size: checkpoint for checkpoint in expected})
    while not reading.ended:
        line = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            reading.fail("the export has no last line: what followed was cut off")
        reading.take(line)
    if stream.read(1):
        reading.line += 1
        reading.fail("something stands behind the last line")
    return reading.report()


class _Reading:
    def __init__(self, verifier: Verifier, expected: dict[int, Checkpoint]) -> None:
        self.line = 0
        self.ended = False
        self._verifier = verifier
        self._expected = expected
        self._origin = ""
        self._tree = Frontier()
        self._chains: dict[int, tuple[int, bytes]] = {}
        self._open: _Open | None = None
        self._segment: tuple[Segment, int] | None = None
        self._last: Checkpoint | None = None
        self._checkpoints = 0
        self._sha256 = hashlib.sha256()

    def fail(self, problem: str, *, line: int | None = None, index: int | None = None) -> NoReturn:
        at = self._tree.size if index is None else index
        raise BadExportError(self.line if line is None else line, at, problem)

    def take(self, line: bytes) -> None:
        self.line += 1
        record = self._decoded(line)
        if isinstance(record, Header) != (self.line == 1):
            self.fail("the header is the first line and no other")
        if self._open and not isinstance(record, Entry):
            count = len(self._open.leaves) // HASH_BYTES
            self.fail(f"{self._open.place} has {self._open.link.leaves} entries, {count} are here: the next is missing")
        if not isinstance(record, Link | Entry):
            self._close_segment()
        match record:
            case Header():
                self._header(record)
            case Segment():
                self._segment = record, self._tree.size
            case Link():
                self._link(record)
            case Entry():
                self._entry(record)
            case Note():
                self._note(record)
            case End():
                self._end(record)
        self._sha256.update(line)

    def _decoded(self, line: bytes) -> Record:
        try:
            return decode(line)
        except ExportFormatError as error:
            self.fail(str(error))

    def _header(self, header: Header) -> None:
        if header.format != FORMAT:
            self.fail(f"the export has format {header.format!r}, this release reads {FORMAT!r}")
        self._origin = header.origin
        for checkpoint in self._expected.values():
            if checkpoint.origin != self._origin:
                self.fail(f"the checkpoint that was kept is of {checkpoint.origin!r}, the export of {self._origin!r}")

    def _close_segment(self) -> None:
        """What the sealer took must be here: so the first entry of a tail that was cut off is named."""
        if self._segment is None:
            return
        segment, start = self._segment
        seq = self._chains.get(segment.chain, _START)[0]
        if seq < segment.last_seq:
            self.fail(
                f"chain {segment.chain} link {seq + 1} is missing: links up to {segment.last_seq} were sealed here"
            )
        if self._tree.size != start + segment.leaves:
            self.fail(f"{segment.leaves} entries were sealed here, {self._tree.size - start} are here", index=start)
        self._segment = None

    def _link(self, link: Link) -> None:
        if self._segment and (
            link.chain != self._segment[0].chain
            or not self._segment[0].first_seq <= link.seq <= self._segment[0].last_seq
        ):
            self.fail(f"chain {link.chain} link {link.seq} is not one of those that were sealed here")
        seq = self._chains.get(link.chain, _START)[0]
        if link.seq > seq + 1:
            self.fail(f"chain {link.chain} link {seq + 1} is missing: link {link.seq} stands in its place")
        if link.seq != seq + 1:
            self.fail(f"chain {link.chain} link {link.seq} stands a second time or too late: {seq + 1} comes next")
        if not 1 <= link.leaves <= MAX_LEAVES or not _HASH.fullmatch(link.hash):
            self.fail(f"chain {link.chain} link {link.seq} has no usable number of entries or hash")
        if link.chain not in self._chains and len(self._chains) >= _MAX_CHAINS:
            self.fail(f"there are more than {_MAX_CHAINS} chains")
        self._open = _Open(self.line, link)

    def _entry(self, entry: Entry) -> None:
        if self._open is None:
            self.fail(f"an entry that belongs to no link {describe(entry.entry)}")
        place = f"{self._open.place} position {len(self._open.leaves) // HASH_BYTES}"
        if entry.entry is None:
            self.fail(f"{place}: the chain has this entry, the table has lost it")
        leaf = leaf_hash(entry.entry.encode())
        if leaf.hex() != entry.leaf:
            self.fail(f"{place}: the entry is not the one that the chain has; it says {describe(entry.entry) or '?'}")
        self._open.leaves += leaf
        self._tree.append(leaf)
        if len(self._open.leaves) == self._open.link.leaves * HASH_BYTES:
            self._close(self._open)
        kept = self._expected.get(self._tree.size)
        if kept and kept.root != self._tree.root():
            start = self._last.size if self._last else 0
            self.fail(
                f"the checkpoint that was kept says otherwise about the entries up to here (from {start} on, if "
                "those before are under a checkpoint)",
                index=start,
            )

    def _close(self, done: _Open) -> None:
        link = done.link
        before = self._chains.get(link.chain, _START)[1]
        digest = chain_hash(before, bytes(done.leaves))
        if digest.hex() != link.hash:
            first = self._tree.size - link.leaves
            self.fail(f"{done.place}: its hash does not follow from its entries", line=done.line, index=first)
        self._chains[link.chain] = (link.seq, digest)
        self._open = None
        if self._segment and link.seq == self._segment[0].last_seq:
            self._close_segment()

    def _note(self, note: Note) -> None:
        try:
            checkpoint = self._verifier.open(note.note)
        except CheckpointError as error:
            self.fail(str(error))
        before, size = self._last, self._tree.size
        if checkpoint.origin != self._origin:
            self.fail(f"the checkpoint is of {checkpoint.origin!r}, the export of {self._origin!r}")
        if checkpoint.size > size:
            self.fail(f"{checkpoint.size} entries were signed, {size} are here: entry {size} is missing")
        start = before.size if before else 0
        if checkpoint.size < size:
            self.fail(f"{checkpoint.size} entries were signed, {size} are here", index=max(start, checkpoint.size))
        if checkpoint.root != self._tree.root():
            self.fail(f"entries {start} to {size - 1} are not those that were signed", index=start)
        if checkpoint.chains != chains_digest(self._chains):
            self.fail(f"the chains do not end as was signed, between entries {start} and {size - 1}", index=start)
        if before and checkpoint.signed_at < before.signed_at:
            self.fail("the checkpoint is older than the one before it")
        self._last, self._checkpoints = checkpoint, self._checkpoints + 1

    def _compare_ends(self, end: End) -> None:
        heads = {chain: (seq, digest) for chain, seq, digest in end.chains}
        for chain, (seq, digest) in sorted(self._chains.items()):
            if heads.get(chain, (0, ""))[0] < seq:
                self.fail(f"chain {chain} has link {seq}, its head says that it ends before")
            if heads[chain] == (seq, digest.hex()):
                heads.pop(chain)
        for chain, (seq, _) in sorted(heads.items()):
            last = self._chains.get(chain, _START)[0]
            if seq > last:
                self.fail(f"chain {chain} link {last + 1} is missing: its head says that it ends with link {seq}")
            if last:
                self.fail(f"chain {chain} ends with link {last}, its head has another hash for it")

    def _end(self, end: End) -> None:
        self._compare_ends(end)
        if (end.entries, end.checkpoints) != (self._tree.size, self._checkpoints):
            self.fail(
                f"the last line counts {end.entries} entries and {end.checkpoints} checkpoints, "
                f"here are {self._tree.size} and {self._checkpoints}"
            )
        if end.sha256 != self._sha256.hexdigest():
            self.fail("the export was changed on its way: its lines have another SHA-256 than the last one says")
        for size in sorted(self._expected):
            if size > self._tree.size:
                self.fail(f"the checkpoint that was kept has {size} entries, {self._tree.size} are here")
        self.ended = True

    def report(self) -> Report:
        return Report(
            origin=self._origin,
            entries=self._tree.size,
            sealed=self._last.size if self._last else 0,
            chains=len(self._chains),
            checkpoints=self._checkpoints,
            root=self._tree.root().hex(),
            signed_at=self._last.signed_at if self._last else None,
        )
