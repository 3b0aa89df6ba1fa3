"""Cutting a stream into chunks of whole records, and a chunk into samples. Both know a record by its line.

A chunk is what one process works on. Where chunks begin and end leaves no trace: a record is known by the number of the
line (in Parquet: of the row) that it begins on, counted from 1.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shieldx_runtime.shadow.draw import shard_of
from shieldx_runtime.shadow.errors import DataError
from shieldx_runtime.shadow.samples import MAX_PAYLOAD_BYTES, NOT_UTF8, TOO_LONG, UNREADABLE

CHUNK_BYTES: Final = 1 << 18
MAX_LINE_BYTES: Final = 2 * MAX_PAYLOAD_BYTES
"""A payload may be twice as long when it is escaped."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records. `line` is the number of the first one; `fields` are the columns of a CSV file.

    `too_long` are the lines of records that were left out because they are beyond all bounds.
    """

    line: int
    data: bytes | Sequence[Mapping[str, Any]]
    fields: tuple[str, ...] | None = None
    too_long: tuple[int, ...] = ()

    @property
    def in_lines(self) -> bool:
        """Whether it is NDJSON."""
        return isinstance(self.data, bytes) and self.fields is None


Record = tuple[int, bytes | Mapping[str, Any] | str]
"""A record's line, and its JSON, its fields, or the reason why it has none."""


def ndjson_chunks(blocks: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Chunks that end with a line's end."""
    line = 1
    for text, oversized in _cut(blocks, chunk_bytes, quoted=False):
        yield Chunk(line, text, too_long=(line,) if oversized else ())
        line += max(text.count(b"\n"), 1)


def csv_chunks(blocks: Iterable[bytes], name: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Chunks that end with a line's end outside of quotes; the first line names the columns.

    Raises:
        DataError: there is no column for payload or label.
    """
    fields: tuple[str, ...] | None = None
    line = 1
    for text, oversized in _cut(blocks, chunk_bytes, quoted=True):
        if fields is None:
            head, _, rest = text.partition(b"\n")
            fields = _columns(head, name)
            line, text = 2, rest  # noqa: PLW2901 - without its head
        if text or oversized:
            yield Chunk(line, text, fields, (line,) if oversized else ())
        line += max(text.count(b"\n"), 1 if oversized else 0)


def _columns(head: bytes, name: str) -> tuple[str, ...]:
    try:
        row = next(csv.reader([head.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: the first line must name the columns: {error}") from None
    if "label" not in row:
        raise DataError(f"{name}: the first line names the columns {', '.join(row)}; one must be label")
    return tuple(row)


def _cut(blocks: Iterable[bytes], chunk_bytes: int, *, quoted: bool) -> Iterator[tuple[bytes, bool]]:
    """Pieces that end with a record, each of about `chunk_bytes`; the last may lack its line's end.

    A record beyond `MAX_LINE_BYTES` is left out: an empty piece tells of it.
    """
    rest = b""
    skipping = False
    for block in blocks:
        rest += block
        if skipping:
            _, found, rest = rest.partition(b"\n")
            if not found:
                rest = b""
                continue
            skipping = False
            yield b"", True
        while len(rest) >= chunk_bytes:
            end = _record_end(rest, chunk_bytes, quoted=quoted)
            if end == 0:
                break
            yield rest[:end], False
            rest = rest[end:]
        if len(rest) > MAX_LINE_BYTES:
            if quoted:
                raise DataError(f"a record is longer than {MAX_LINE_BYTES >> 20} MiB: is a quote left open?")
            rest, skipping = b"", True
    if skipping:
        yield b"", True
    elif rest:
        yield rest, False


def _record_end(text: bytes, about: int, *, quoted: bool) -> int:
    """Where the last record that ends before `about` ends, or else the next one; 0 where none does."""
    end = text.rfind(b"\n", 0, about) + 1 or text.find(b"\n", about) + 1
    if not quoted:
        return end
    while end and text.count(b'"', 0, end) % 2:  # within quotes: go on to the next line's end
        end = text.find(b"\n", end) + 1
    return end


def records(chunk: Chunk) -> Iterator[Record]:
    """The records of a chunk, in their order."""
    for line in chunk.too_long:
        yield line, TOO_LONG
    if not isinstance(chunk.data, bytes):
        yield from enumerate(chunk.data, chunk.line)
    elif chunk.fields is None:
        for piece in pieces_of(chunk, 0, 1):
            yield from lines_of(piece)
    else:
        yield from _csv(chunk.data, chunk.line, chunk.fields)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of NDJSON, with or without the last one's end, and the number of each."""

    lines: Sequence[int]
    data: bytes


def pieces_of(chunk: Chunk, shard: int, shards: int) -> Iterator[Piece]:
    """The lines of a chunk of NDJSON that are a shard's."""
    data = chunk.data
    if not isinstance(data, bytes) or not data or data.isspace():  # empty lines must cost next to nothing
        return
    if shards == 1:
        yield Piece(range(chunk.line, chunk.line + data.count(b"\n") + (not data.endswith(b"\n"))), data)
        return
    found = [entry for entry in enumerate(data.split(b"\n"), chunk.line) if shard_of(entry[0], shards) == shard]
    if found:
        lines, texts = zip(*found, strict=True)
        yield Piece(lines, b"\n".join(texts))


def lines_of(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty."""
    # after the last line's end there is nothing, not a line
    for number, text in zip(piece.lines, piece.data.split(b"\n"), strict=False):
        if text and not text.isspace():
            yield number, text


def _csv(data: bytes, line: int, fields: tuple[str, ...]) -> Iterator[Record]:
    # latin-1 reads any byte, so that one record that is no UTF-8 spoils no other
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(io.StringIO(data.decode("latin-1"), newline=""), strict=True)
    ascii_only = data.isascii()
    while True:
        begin = line + reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield begin, UNREADABLE
            continue
        if not row:
            continue
        if len(row) != len(fields):
            yield begin, UNREADABLE
            continue
        try:
            texts = row if ascii_only else [text.encode("latin-1").decode() for text in row]
        except UnicodeDecodeError:
            yield begin, NOT_UTF8
            continue
        yield begin, dict(zip(fields, texts, strict=True))


def parquet_chunks(path: str, rows: int = 2000) -> Iterator[Chunk]:
    """Chunks of a Parquet file's rows.

    Raises:
        DataError: it is no Parquet file, or has no column for the label.
    """
    # a large import that only this format needs
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            if "label" not in file.schema_arrow.names:
                raise DataError(f"{path}: it has the columns {', '.join(file.schema_arrow.names)}; one must be label")
            line = 1
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                yield Chunk(line, [_plain(record) for record in batch.to_pylist()])
                line += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else _decoded(value) for name, value in record.items()
    }


def _decoded(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
