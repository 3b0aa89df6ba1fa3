"""Made-up exports: whole, and as somebody with the whole database but without the signing key would write them."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldx_runtime.core.checkpoint import Checkpoint, Signer, Verifier
from shieldx_runtime.core.merkle import Frontier, leaf_hash
from shieldx_runtime.credits.export_format import (
    FORMAT,
    End,
    Entry,
    Header,
    Link,
    Note,
    Record,
    Segment,
    chain_hash,
    chains_digest,
    encode,
)
from shieldx_runtime.credits.export_verify import Report, verify

ORIGIN = "shieldx.io/credits/11111111-2222-4333-8444-555555555555"
SIGNER = Signer(Ed25519PrivateKey.generate())
VERIFIER = Verifier.from_pem(SIGNER.public_pem().encode())
START = datetime(2030, 1, 31, tzinfo=UTC)


def entry_text(number: int) -> str:
    return (
        f"2|org-{number % 7}|{number}|consume|{number % 90 + 1}|{10**6 - number}|"
        f"0190{number:04x}-0000-7000-8000-{number:012x}||0123456789abcdef||2030-01-31T12:00:00.000000Z|"
        f'"caf\u00e9 {number}"||'
    )


@dataclass
class Writer:
    """Writes an export with hashes that fit what it is given; only signatures can be kept from another one."""

    records: list[Record] = field(default_factory=list)
    ends: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    tree: Frontier = field(default_factory=Frontier)
    checkpoints: int = 0

    def __post_init__(self) -> None:
        self.records.append(Header(FORMAT, ORIGIN))

    def segment(self, chain: int, *links: list[str]) -> None:
        """Links as the sealer takes them."""
        seq = self.ends.get(chain, (0, b""))[0]
        self.records.append(Segment(chain, seq + 1, seq + len(links), sum(map(len, links))))
        for entries in links:
            self.link(chain, entries)

    def link(self, chain: int, entries: list[str]) -> None:
        seq, before = self.ends.get(chain, (0, bytes(32)))
        leaves = [leaf_hash(entry.encode()) for entry in entries]
        digest = chain_hash(before, b"".join(leaves))
        self.ends[chain] = (seq + 1, digest)
        self.records.append(Link(chain, seq + 1, len(entries), digest.hex()))
        for entry, leaf in zip(entries, leaves, strict=True):
            self.tree.append(leaf)
            self.records.append(Entry(leaf.hex(), entry))

    def checkpoint(self) -> Checkpoint:
        when = START + timedelta(seconds=self.checkpoints)
        made = Checkpoint(ORIGIN, self.tree.size, self.tree.root(), when, chains_digest(self.ends))
        self.note(SIGNER.sign(made))
        return made

    def note(self, note: str) -> None:
        self.records.append(Note(note))
        self.checkpoints += 1

    def bytes(self) -> bytes:
        return finished(self.records, self.tree.size, self.checkpoints, self.ends)


def finished(records: list[Record], entries: int, checkpoints: int, ends: dict[int, tuple[int, bytes]]) -> bytes:
    """The file of these records with a last line that fits it."""
    body = b"".join(encode(record) for record in records)
    heads = [(chain, seq, digest.hex()) for chain, (seq, digest) in sorted(ends.items())]
    return body + encode(End(entries, checkpoints, heads, hashlib.sha256(body).hexdigest()))


def made(seed: int = 1, links: int = 24, *, change: Callable[[int, str], str] = lambda _, entry: entry) -> Writer:
    """A ledger of three writers, sealed now and then. `change` rewrites entries by their index."""
    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    writer = Writer()
    number = 0

    def texts() -> list[str]:
        nonlocal number
        start, number = number, number + dice.randint(1, 4)
        return [change(n, entry_text(n)) for n in range(start, number)]

    for round_ in range(links // 6):
        for chain in sorted(dice.sample([0, 1, 2, 9], dice.randint(1, 3))):
            writer.segment(chain, *[texts() for _ in range(dice.randint(1, 3))])
        if round_ % 2:
            writer.checkpoint()
    # not sealed yet
    for chain in (1, 9):
        writer.link(chain, texts())
    return writer


def check(content: bytes, *expected: Checkpoint) -> Report:
    return verify(BytesIO(content), VERIFIER, expected)


def entry_lines(writer: Writer) -> list[int]:
    """Where entries stand among the records; the line is one more."""
    return [n for n, record in enumerate(writer.records) if isinstance(record, Entry)]


def with_notes_of(forged: Writer, original: Writer) -> bytes:
    """A rewritten export under the signatures of the original: nobody else has the key."""
    notes = iter([record for record in original.records if isinstance(record, Note)])
    records = [next(notes) if isinstance(record, Note) else record for record in forged.records]
    return finished(records, forged.tree.size, forged.checkpoints, forged.ends)
