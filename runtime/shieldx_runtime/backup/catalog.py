"""Which copies there are: where their objects lie, which of them are whole, what dead runs left behind."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from shieldx_runtime.backup import manifest as manifests
from shieldx_runtime.backup.clock import moment_of
from shieldx_runtime.backup.destination import Destination
from shieldx_runtime.backup.errors import BackupError, DamagedError, NotFoundError, WrongKeyError
from shieldx_runtime.backup.keys import KeyRing
from shieldx_runtime.backup.manifest import Manifest, Stream
from shieldx_runtime.core import log

MANIFEST: Final = "manifest.json"
VERIFIED: Final = "verified.json"
DRILLED: Final = "drilled.json"
_READERS: Final = 8
_MAX_LEFTOVERS: Final = 1000
"""Removed in one run: what is left waits for the next."""
_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole copy. `verified` and `drilled` are the records of its last proofs, if any."""

    manifest: Manifest
    manifest_sha256: str
    verified: dict[str, Any] | None = None
    drilled: dict[str, Any] | None = None

    @property
    def taken_at(self) -> datetime:
        return moment_of(self.manifest.taken_at)


@dataclass(frozen=True, slots=True)
class Listing:
    """Copies by age, oldest first; what looks like one and is none, with the reason; objects of no copy."""

    copies: tuple[Copy, ...]
    broken: dict[str, BackupError]
    leftovers: tuple[str, ...]

    def get(self, backup_id: str) -> Copy:
        """Raises: DamagedError, WrongKeyError, NotFoundError."""
        for copy in self.copies:
            if copy.manifest.backup_id == backup_id:
                return copy
        if backup_id in self.broken:
            raise _unusable(backup_id, self.broken[backup_id])
        raise NotFoundError(f"there is no backup {backup_id!r}: `backup list` shows those there are")

    def why_none(self) -> BackupError:
        """What to say where no copy will do: a copy that cannot be used says more than that there is none."""
        if self.broken and not self.copies:
            newest = max(self.broken)
            return _unusable(newest, self.broken[newest])
        return NotFoundError("there is no verified backup (of that time): name one of `backup list`")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The copies of one service at one destination. Without keys, authenticity is not looked at."""

    destination: Destination
    service: str
    ring: KeyRing | None = field(repr=False)

    def folder(self, stream: Stream, backup_id: str = "") -> str:
        return f"{self.service}/{stream}/{backup_id}/" if backup_id else f"{self.service}/{stream}/"

    def lease_key(self, name: str) -> str:
        # beside the streams, not among their objects
        return f"{self.service}/leases/{name}.json"

    def list(self, stream: Stream) -> Listing:
        """One look at the stream. A copy whose objects are not all there, in their sizes, is not among the copies.

        Raises:
            DestinationError.
        """
        prefix = self.folder(stream)
        sizes = {found.key: found.size_bytes for found in self.destination.find(prefix)}
        ids = sorted({key.removeprefix(prefix).partition("/")[0] for key in sizes})
        whole = [i for i in ids if f"{prefix}{i}/{MANIFEST}" in sizes]
        with ThreadPoolExecutor(_READERS) as pool:
            read = list(pool.map(lambda i: self._read(stream, i, sizes), whole))
        copies = [found for found in read if isinstance(found, Copy)]
        known = {key for copy in copies for key in self._keys(copy)}
        broken = {i: found for i, found in zip(whole, read, strict=True) if isinstance(found, BackupError)}
        leftovers = [k for k in sizes if k not in known and k.removeprefix(prefix).partition("/")[0] not in broken]
        copies.sort(key=lambda copy: (copy.taken_at, copy.manifest.backup_id))
        return Listing(tuple(copies), broken, tuple(leftovers))

    def get(self, stream: Stream, backup_id: str) -> Copy:
        """Raises: DamagedError, WrongKeyError, NotFoundError, DestinationError."""
        prefix = self.folder(stream, backup_id)
        sizes = {found.key: found.size_bytes for found in self.destination.find(prefix)}
        if prefix + MANIFEST not in sizes:
            raise NotFoundError(f"there is no backup {backup_id!r}: `backup list` shows those there are")
        found = self._read(stream, backup_id, sizes)
        if isinstance(found, BackupError):
            raise _unusable(backup_id, found)
        return found

    def record(self, copy: Copy, name: str, proof: dict[str, Any]) -> None:
        """Keeps the outcome of a proof beside the copy, bound to its manifest. Needs keys."""
        if self.ring is None:
            raise ValueError("a record cannot be signed without keys")
        body = {**proof, "backup_id": copy.manifest.backup_id, "manifest_sha256": copy.manifest_sha256}
        key = self.folder(copy.manifest.stream, copy.manifest.backup_id) + name
        self.destination.put(key, manifests.sign(body, self.ring.active))

    def remove(self, copy: Copy) -> None:
        """The manifest first: from then on it is no copy, whatever happens to us."""
        folder = self.folder(copy.manifest.stream, copy.manifest.backup_id)
        self.destination.delete(folder + MANIFEST)
        for key in sorted(self._keys(copy) - {folder + MANIFEST}):
            self.destination.delete(key)

    def sweep(self, stream: Stream, leftovers: Iterable[str]) -> int:
        """Removes what dead runs left, boundedly much; how many objects. To be called under the stream's lease."""
        removed = 0
        for name in self.destination.unfinished(self.folder(stream))[:_MAX_LEFTOVERS]:
            self.destination.abort(name)
            removed += 1
        for key in list(leftovers)[: _MAX_LEFTOVERS - removed]:
            self.destination.delete(key)
            removed += 1
        if removed:
            _logger.info("leftovers of dead runs removed", stream=stream, objects=removed)
        return removed

    def _keys(self, copy: Copy) -> set[str]:
        folder = self.folder(copy.manifest.stream, copy.manifest.backup_id)
        return {folder + name for name in (MANIFEST, VERIFIED, DRILLED, *(a.key for a in copy.manifest.artifacts))}

    def _read(self, stream: Stream, backup_id: str, sizes: dict[str, int]) -> Copy | BackupError:
        """The copy, or why it is none."""
        folder = self.folder(stream, backup_id)
        try:
            data, _ = self.destination.get(folder + MANIFEST)
            manifest = manifests.decode(data, self.ring)
        except (DamagedError, NotFoundError, WrongKeyError) as error:
            return error
        if (manifest.service, manifest.stream, manifest.backup_id) != (self.service, stream, backup_id):
            return DamagedError("its manifest is that of another copy: objects were exchanged")
        for artifact in manifest.artifacts:
            size_bytes = sizes.get(folder + artifact.key)
            if size_bytes != artifact.size_bytes:
                there = "missing" if size_bytes is None else f"{size_bytes} bytes long"
                return DamagedError(f"{artifact.key} is {there}, its manifest says {artifact.size_bytes} bytes")
        sha256 = manifests.digest(data)
        proofs = (self._proof(folder + name, sizes, sha256) for name in (VERIFIED, DRILLED))
        return Copy(manifest, sha256, *proofs)

    def _proof(self, key: str, sizes: dict[str, int], manifest_sha256: str) -> dict[str, Any] | None:
        """A record that is not authentic, or of another manifest, proves nothing."""
        if key not in sizes:
            return None
        try:
            record = manifests.authentic(self.destination.get(key)[0], self.ring)
        except (DamagedError, NotFoundError, WrongKeyError) as error:
            _logger.warning("proof passed over", key=key, problem=str(error))
            return None
        return record if record.get("manifest_sha256") == manifest_sha256 else None


def _unusable(backup_id: str, problem: BackupError) -> BackupError:
    """A missing key is not damage: with the key, the copy can be used."""
    kind = WrongKeyError if isinstance(problem, WrongKeyError) else DamagedError
    return kind(f"backup {backup_id} cannot be used: {problem}")
