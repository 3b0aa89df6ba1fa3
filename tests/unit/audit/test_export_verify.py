"""Whatever is done to an export, the first entry that is wrong is named."""

import random
import tracemalloc
from collections.abc import Iterator
from io import BytesIO, RawIOBase

import msgspec
import pytest

from shieldx_runtime.core.checkpoint import Signer, Verifier
from shieldx_runtime.credits.export_format import MAX_LINE_BYTES, Entry, Header, Link, Note, Segment, encode
from shieldx_runtime.credits.export_verify import BadExportError, verify
from tests.unit.audit.ledgers import (
    VERIFIER,
    Writer,
    check,
    entry_lines,
    entry_text,
    finished,
    made,
    with_notes_of,
)

SEEDS = range(40)


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable on purpose


def refused(content: bytes) -> BadExportError:
    with pytest.raises(BadExportError) as caught:
        check(content)
    return caught.value


def test_a_whole_export_verifies_and_tells_what_it_holds() -> None:
    writer = made()
    report = check(writer.bytes())
    assert report.entries == writer.tree.size
    assert report.root == writer.tree.root().hex()
    assert (report.chains, report.checkpoints) == (len(writer.ends), writer.checkpoints)
    assert report.sealed < report.entries


def test_an_empty_ledger_verifies() -> None:
    assert check(Writer().bytes()).entries == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_one_flipped_byte_names_its_line(seed: int) -> None:
    """Everywhere but in the header, whose origin shows in the first checkpoint, and in counts of what follows."""
    content = made(seed).bytes()
    lines = content.splitlines(keepends=True)
    roll = dice(seed)
    for _ in range(40):
        place = roll.randrange(len(lines[0]), len(content))
        line = content.count(b"\n", 0, place) + 1
        wrong = bytearray(content)
        wrong[place] ^= 1 << roll.randrange(8)
        found = refused(bytes(wrong))
        counts = lines[line - 1].startswith((b'{"type":"link"', b'{"type":"segment"')) and found.line > line
        ended_line = content[place : place + 1] == b"\n"
        assert found.line == line or counts or ended_line, found


def test_a_flipped_byte_in_the_header_is_found() -> None:
    content = made().bytes()
    for place in range(content.index(b"\n")):
        wrong = bytearray(content)
        wrong[place] ^= 1
        refused(bytes(wrong))


@pytest.mark.parametrize("seed", SEEDS)
def test_one_flipped_byte_in_a_row_is_named_by_chain_position_tenant_and_transaction(seed: int) -> None:
    """The row in the table was changed; the chain and everything else is as it was."""
    writer, roll = made(seed), dice(seed)
    index = roll.randrange(writer.tree.size)
    at = entry_lines(writer)[index]
    record = writer.records[at]
    assert isinstance(record, Entry)
    assert record.entry
    place = roll.randrange(len(record.entry) - 3)
    text = record.entry[:place] + chr(ord(record.entry[place]) ^ 1) + record.entry[place + 1 :]
    writer.records[at] = Entry(record.leaf, text)
    found = refused(writer.bytes())
    assert (found.line, found.index) == (at + 1, index)
    assert "the entry is not the one that the chain has" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
def test_a_row_that_was_deleted_is_named(seed: int) -> None:
    writer, roll = made(seed), dice(seed)
    index = roll.randrange(writer.tree.size)
    at = entry_lines(writer)[index]
    writer.records[at] = Entry(writer.records[at].leaf, None)  # type: ignore[union-attr]
    found = refused(writer.bytes())
    assert (found.line, found.index) == (at + 1, index)
    assert "the table has lost it" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
def test_a_swapped_pair_names_the_first_of_the_two(seed: int) -> None:
    writer, roll = made(seed), dice(seed)
    places = entry_lines(writer)
    one, two = sorted(roll.sample(range(len(places)), 2))
    records = writer.records
    # as rows: each now stands where the chain has the other
    first, second = records[places[one]], records[places[two]]
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)
    rows = list(records)
    rows[places[one]], rows[places[two]] = Entry(first.leaf, second.entry), Entry(second.leaf, first.entry)
    found = refused(finished(rows, writer.tree.size, writer.checkpoints, writer.ends))
    assert (found.line, found.index) == (places[one] + 1, one)
    # as whole lines
    lines = list(records)
    lines[places[one]], lines[places[two]] = second, first
    found = refused(finished(lines, writer.tree.size, writer.checkpoints, writer.ends))
    assert found.index <= one
    assert isinstance(records[found.line - 1], Link)
    assert found.line <= places[one]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_deleted_tail_names_the_first_entry_that_is_gone(seed: int) -> None:
    writer, roll = made(seed), dice(seed)
    # cut off anywhere, and nothing else done about it
    content = writer.bytes()
    refused(content[: roll.randrange(1, len(content))])
    # whole links deleted out of the tables, heads and all; the signed checkpoints are still there
    links = [n for n, record in enumerate(writer.records) if isinstance(record, Link)]
    last_note = max(n for n, record in enumerate(writer.records) if isinstance(record, Note))
    start = roll.choice([n for n in links if n < last_note])
    kept = Writer()
    for n, record in enumerate(writer.records[:start]):
        if isinstance(record, Link):
            following = writer.records[n + 1 : n + 1 + record.leaves]
            kept.link(record.chain, [e.entry or "" for e in following if isinstance(e, Entry)])
        elif isinstance(record, Note):
            kept.note(record.note)
    for record in writer.records[start:]:
        if isinstance(record, Note):
            kept.note(record.note)
    found = refused(kept.bytes())
    assert found.index == kept.tree.size
    assert f"entry {kept.tree.size} is missing" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
def test_the_end_of_a_chain_that_was_sealed_is_named_though_its_head_was_set_back(seed: int) -> None:
    """Links, entries and head are gone; what the sealer noted of its work is still there."""
    writer, roll = made(seed), dice(seed)
    last_note = max(n for n, record in enumerate(writer.records) if isinstance(record, Note))
    links = {n: r for n, r in enumerate(writer.records[:last_note]) if isinstance(r, Link)}
    at, first = roll.choice(sorted(links.items()))
    kept, skip, ends, size = [], 0, {}, 0
    for record in writer.records:
        if isinstance(record, Link):
            skip = record.leaves if record.chain == first.chain and record.seq >= first.seq else 0
            if not skip:
                ends[record.chain] = (record.seq, bytes.fromhex(record.hash))
        if isinstance(record, Entry | Link) and (skip or record is first):
            skip -= isinstance(record, Entry)
            continue
        kept.append(record)
        size += isinstance(record, Entry)
    found = refused(finished(kept, size, writer.checkpoints, ends))
    assert found.index == sum(isinstance(record, Entry) for record in writer.records[:at])
    assert f"chain {first.chain} link {first.seq} is missing" in found.problem


def test_links_that_were_not_sealed_together_are_not_taken_for_it() -> None:
    writer = Writer()
    writer.records.append(Segment(1, 1, 1, 1))
    writer.link(2, [entry_text(1)])
    assert "chain 2 link 1 is not one of those that were sealed here" in refused(writer.bytes()).problem
    writer = Writer()
    writer.records.append(Segment(1, 1, 1, 2))
    writer.link(1, [entry_text(1)])
    assert "2 entries were sealed here, 1 are here" in refused(writer.bytes()).problem


@pytest.mark.parametrize("seed", SEEDS)
def test_a_missing_link_is_named(seed: int) -> None:
    writer, roll = made(seed), dice(seed)
    links = [n for n, record in enumerate(writer.records) if isinstance(record, Link)]
    at = roll.choice(links)
    gone = writer.records[at]
    assert isinstance(gone, Link)
    rest = writer.records[:at] + writer.records[at + 1 + gone.leaves :]
    found = refused(finished(rest, writer.tree.size - gone.leaves, writer.checkpoints, writer.ends))
    assert found.line > at
    assert f"chain {gone.chain} link {gone.seq} is missing" in found.problem or "are here" in found.problem


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_that_was_rewritten_with_all_its_hashes_does_not_fit_the_signatures(seed: int) -> None:
    original = made(seed)
    sealed = max(n for n, r in enumerate(original.records) if isinstance(r, Note))
    index = dice(seed).randrange(sum(isinstance(r, Entry) for r in original.records[:sealed]))
    forged = made(seed, change=lambda n, entry: entry.replace("consume", "konsume") if n == index else entry)
    found = refused(with_notes_of(forged, original))
    assert "are not those that were signed" in found.problem
    assert found.index <= index
    # no checkpoint stands between the one that is named and the entry
    before = [n for n, r in enumerate(original.records) if isinstance(r, Note) and n + 1 < found.line]
    assert all(entry_lines(original)[index] > n for n in before)


def test_what_is_not_signed_yet_is_held_by_its_chains_head() -> None:
    writer = made()
    ends = dict(writer.ends)
    chain = 9
    writer.link(chain, [entry_text(10_000)])
    head = writer.ends[chain]
    with pytest.raises(BadExportError, match=f"chain 9 link {head[0]} is missing: its head says"):
        check(finished(writer.records[:-2], writer.tree.size - 1, writer.checkpoints, writer.ends))
    with pytest.raises(BadExportError, match="its head says that it ends before"):
        check(finished(writer.records, writer.tree.size, writer.checkpoints, ends))
    wrong = {**writer.ends, chain: (head[0], bytes(32))}
    with pytest.raises(BadExportError, match="its head has another hash"):
        check(finished(writer.records, writer.tree.size, writer.checkpoints, wrong))


def test_a_ledger_set_back_to_an_older_state_fails_against_a_checkpoint_that_was_kept() -> None:
    writer = made(3)
    older = writer.bytes()
    assert check(older)
    writer.link(1, [entry_text(10_000)])
    kept = writer.checkpoint()
    assert check(writer.bytes(), kept)
    with pytest.raises(BadExportError, match=f"the checkpoint that was kept has {kept.size} entries"):
        check(older, kept)
    other = made(3)
    other.link(1, [entry_text(10_001)])
    with pytest.raises(BadExportError, match="says otherwise"):
        check(other.bytes(), kept)


def test_a_checkpoint_of_another_key_or_another_ledger_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    stranger = Verifier.from_pem(Signer(Ed25519PrivateKey.generate()).public_pem().encode())
    with pytest.raises(BadExportError, match="none of the public keys given"):
        verify(BytesIO(made().bytes()), stranger)
    writer = made()
    writer.records[0] = Header("shieldx-ledger-export/1", "shieldx.io/credits/another")
    assert "the checkpoint is of" in refused(writer.bytes()).problem


def test_a_checkpoint_left_out_is_counted_and_an_older_one_refused() -> None:
    writer = made()
    notes = [n for n, record in enumerate(writer.records) if isinstance(record, Note)]
    without = writer.records[: notes[1]] + writer.records[notes[1] + 1 :]
    assert "checkpoints" in refused(finished(without, writer.tree.size, writer.checkpoints, writer.ends)).problem
    moved = [*writer.records, writer.records[notes[0]]]
    assert "were signed" in refused(finished(moved, writer.tree.size, writer.checkpoints + 1, writer.ends)).problem


def test_more_behind_the_end_is_refused() -> None:
    content = made().bytes()
    for more in (b"\n", b"{}", content):
        assert "behind the last line" in refused(content + more).problem


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "checkpoint","note":""}\n',
        b'{"type":"entry","entry":null,"leaf":"00"}\n',
        b'{"type":"entry","leaf":"00","entry":"\\u0041"}\n',
        b'{"type":"other"}\n',
        b"\xff\n",
        b"[]\n",
        b"\n",
        b'{"type":"entry","leaf":"' + b"0" * MAX_LINE_BYTES + b'","entry":null}\n',
        encode(Entry("00", "x")),
        encode(Link(1, 1, 0, "0" * 64)),
        encode(Link(1, 1, 10**9, "0" * 64)),
        encode(Link(1, 1, 1, "short")),
        encode(Link(1, -5, 1, "0" * 64)),
        encode(Header("shieldx-ledger-export/1", "again")),
    ],
)
def test_a_line_that_no_export_has_is_named(line: bytes) -> None:
    header = encode(Writer().records[0])
    assert refused(header + line).line == 2


def test_memory_does_not_grow_with_the_export() -> None:
    def peak(links: int) -> int:
        content = BytesIO(made(links=links).bytes())
        tracemalloc.start()
        verify(content, VERIFIER)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(50)
    small, large = peak(100), peak(4000)
    assert large < small + 64 * 1024


class _Slow(RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, content: bytes) -> None:
        self._parts: Iterator[bytes] = iter([content[i : i + 7] for i in range(0, len(content), 7)])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = next(self._parts, b"")
        buffer[: len(part)] = part
        return len(part)


def test_an_export_may_come_through_a_pipe() -> None:
    from io import BufferedReader  # noqa: PLC0415

    content = made().bytes()
    assert verify(BufferedReader(_Slow(content)), VERIFIER) == check(content)


def test_records_of_an_export_are_what_they_say() -> None:
    assert msgspec.json.decode(encode(Entry("ab", "é")), type=dict) == {"type": "entry", "leaf": "ab", "entry": "é"}
