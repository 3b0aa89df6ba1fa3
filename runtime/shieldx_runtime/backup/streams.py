"""Pieces that every stream of bytes passes: counting, compressing, unpacking. Constant memory, whatever the length."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final, cast

import zstandard

from shieldx_runtime.backup.errors import DamagedError

CODEC_PLAIN: Final = 0
CODEC_ZSTD: Final = 1
CHUNK_BYTES: Final = 1 << 20
_LEVEL: Final = 3


@dataclass(slots=True)
class Tally:
    """Counts and digests what passes; `check` is called for each piece (a deadline, a lease)."""

    check: Callable[[], None] = lambda: None
    size_bytes: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        value: str = self._digest.hexdigest()
        return value

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.check()
            self.size_bytes += len(chunk)
            self._digest.update(chunk)
            yield chunk


def compress(chunks: Iterable[bytes], *, threads: int | None = None) -> Iterator[bytes]:
    """One zstd frame of `chunks`. Compressing happens in threads of the library, outside of Python's lock."""
    workers = threads if threads is not None else min(4, os.cpu_count() or 1)
    packer = zstandard.ZstdCompressor(level=_LEVEL, threads=workers).compressobj()
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def unpack(chunks: Iterable[bytes], codec: int) -> Iterator[bytes]:
    """What was compressed, in pieces of at most `CHUNK_BYTES`.

    Raises (while reading):
        DamagedError: unknown codec, or the content is no zstd.
    """
    if codec == CODEC_PLAIN:
        yield from chunks
        return
    if codec != CODEC_ZSTD:
        raise DamagedError(f"its header names codec {codec}, which this program does not know: use a newer one")
    source = _IterableReader(chunks)
    # through a reader, not piece by piece: one piece of zeros would unpack into a thousand
    with zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", source), read_size=CHUNK_BYTES) as reader:
        try:
            while plain := reader.read(CHUNK_BYTES):
                yield plain
        except zstandard.ZstdError as error:
            raise DamagedError(f"its content does not unpack ({error}): it was written by a faulty program") from error
    # the end of the sealed object is proved only when it has been read
    if any(source.rest()):
        raise DamagedError("something follows the end of its content: it was written by a faulty program")


class _IterableReader(io.RawIOBase):
    """Chunks as a file to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self._held + b"".join(self._chunks)
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._held = chunk
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def rest(self) -> Iterator[bytes]:
        """What nobody has read."""
        yield self._held
        yield from self._chunks
