"""The lines of a ledger export, and nothing else about it: docs/reference/ledger-export.md tells what they mean.

Each record has exactly one line that says it, so that no byte of an export is without meaning.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

FORMAT: Final = "shieldx-ledger-export/1"
MAX_LINE_BYTES: Final = 64 * 1024
MAX_LEAVES: Final = 4096
"""Entries of one link: what one transaction of the database decides."""
EVENTS_CHAIN: Final = 0
"""The chain of accesses to personal data. Those of money have numbers from 1 on."""
FORMER_CHAIN: Final = -1
"""What stood in the chains of tenants before there were chains of writers."""


class ExportFormatError(Exception):
    """A line is not one of an export; the message says why."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    pass


class Header(_Record, frozen=True, tag="export"):
    format: str
    origin: str


class Segment(_Record, frozen=True, tag="segment"):
    """Says that links `first_seq` to `last_seq` of a chain follow, with `leaves` entries, as the sealer took them."""

    chain: int
    first_seq: int
    last_seq: int
    leaves: int


class Link(_Record, frozen=True, tag="link"):
    """Says that `leaves` entries follow. `hash` is SHA-256(hash of the chain's link before || their leaves), in hex."""

    chain: int
    seq: int
    leaves: int
    hash: str


class Entry(_Record, frozen=True, tag="entry"):
    """`leaf` is what the chain has (RFC 6962's hash of the entry, in hex); `entry` what the table has, or null."""

    leaf: str
    entry: str | None


class Note(_Record, frozen=True, tag="checkpoint"):
    """A signed checkpoint over all entries before it."""

    note: str


class End(_Record, frozen=True, tag="end"):
    """The last line. `chains` are the ends that the writers' heads have; `sha256` is over all lines before, in hex."""

    entries: int
    checkpoints: int
    chains: list[tuple[int, int, str]]
    sha256: str


Record: TypeAlias = Header | Segment | Link | Entry | Note | End
_decoder: Final = msgspec.json.Decoder(Record)
_encoder: Final = msgspec.json.Encoder()
_TRANSACTION: Final = 6
"""Its place among the fields of credits.entry, version 2."""


def encode(record: Record) -> bytes:
    """The record's line, with its end."""
    return _encoder.encode(record) + b"\n"


def decode(line: bytes) -> Record:
    """The record of a line.

    Raises:
        ExportFormatError: it is none, or not written in the one way in which it is.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ExportFormatError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        record: Record = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExportFormatError(f"the line is no record of an export ({error})") from error
    if encode(record) != line:
        raise ExportFormatError("the line is not written as an export writes it")
    return record


def chain_hash(before: bytes, leaves: bytes) -> bytes:
    """The hash of a link: `before` is that of the link before it, 32 zero bytes at first."""
    return hashlib.sha256(before + leaves).digest()


def chains_digest(ends: Mapping[int, tuple[int, bytes]] | Iterable[tuple[int, tuple[int, bytes]]]) -> bytes:
    """What a checkpoint says about the ends of the chains: by number, the last link's number and hash."""
    items = ends.items() if isinstance(ends, Mapping) else ends
    text = "".join(f"{chain} {seq} {digest.hex()}\n" for chain, (seq, digest) in sorted(items))
    return hashlib.sha256(text.encode()).digest()


def is_of(entry: str, transaction_id: str) -> bool:
    """Whether an entry is that of a transaction, and not of one that refers to it."""
    parts = entry.split("|")
    if parts[0] == "2":
        return len(parts) > _TRANSACTION and parts[_TRANSACTION] == transaction_id
    # of before migration 6: it names no other transaction
    return transaction_id in entry


def describe(entry: str | None) -> str:
    """Names an entry of the ledger for a person: tenant, version, kind and transaction; nothing of its texts."""
    parts = (entry or "").split("|")
    if len(parts) > _TRANSACTION and parts[0] == "2":
        return f"tenant {parts[1]!r} version {parts[2]} ({parts[3]}, transaction {parts[6]})"
    return ""
