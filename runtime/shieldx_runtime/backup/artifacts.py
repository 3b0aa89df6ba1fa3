"""Writing and reading one sealed object of a copy."""

from collections.abc import Callable, Iterable, Iterator

from shieldx_runtime.backup.catalog import Catalog
from shieldx_runtime.backup.errors import DamagedError
from shieldx_runtime.backup.frames import open_sealed, seal
from shieldx_runtime.backup.keys import KeyRing
from shieldx_runtime.backup.manifest import Artifact, Manifest, Stream, context_of
from shieldx_runtime.backup.streams import CODEC_ZSTD, Tally, compress, unpack


def store(
    catalog: Catalog, ring: KeyRing, place: tuple[Stream, str, str], chunks: Iterable[bytes], check: Callable[[], None]
) -> Artifact:
    """Streams `chunks` compressed and sealed to `place` (stream, id of the copy, key): what a manifest says of it.

    `check` is called for each piece. Raises: whatever `chunks`, `check` and the destination raise: nothing is stored.
    """
    stream, backup_id, key = place
    plain, stored = Tally(check), Tally(check)
    sealed = seal(
        compress(plain.through(chunks)),
        ring.active,
        codec=CODEC_ZSTD,
        context=context_of(catalog.service, stream, backup_id, key),
    )
    catalog.destination.put_stream(catalog.folder(stream, backup_id) + key, stored.through(sealed))
    return Artifact(key, stored.size_bytes, stored.sha256, plain.size_bytes, plain.sha256)


def load(
    catalog: Catalog, ring: KeyRing, manifest: Manifest, artifact: Artifact, check: Callable[[], None]
) -> Iterator[bytes]:
    """The content of an artifact. Its end comes only if every byte was what the manifest says.

    Raises (while reading):
        DamagedError, WrongKeyError, DestinationError.
    """
    stored, plain = Tally(check), Tally(check)
    key = catalog.folder(manifest.stream, manifest.backup_id) + artifact.key
    header, frames = open_sealed(
        stored.through(catalog.destination.get_stream(key)), ring, context=manifest.context(artifact.key)
    )
    yield from plain.through(unpack(frames, header.codec))
    for tally, size_bytes, sha256, what in (
        (stored, artifact.size_bytes, artifact.sha256, "object"),
        (plain, artifact.plain_size_bytes, artifact.plain_sha256, "content"),
    ):
        if (tally.size_bytes, tally.sha256) != (size_bytes, sha256):
            raise DamagedError(
                f"the {what} of {key} has {tally.size_bytes} bytes and SHA-256 {tally.sha256[:12]}, its manifest says "
                f"{size_bytes} and {sha256[:12]}: it was altered; use another copy"
            )
