"""A folder as a destination: a PersistentVolumeClaim, or a disk of one's own."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from shieldx_runtime.backup.destination import SMALL_BYTES, Condition, Found
from shieldx_runtime.backup.errors import (
    ConflictError,
    DamagedError,
    DestinationError,
    NoSpaceError,
    NotFoundError,
)
from shieldx_runtime.backup.streams import CHUNK_BYTES

_INCOMING: Final = ".incoming"
_GUARD: Final = ".guard"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Folder:
    """Files are written beside their place, synced, and moved there; a conditional put holds a lock of the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = f"folder {root}"
        self.locks = False

    def put(
        self, key: str, data: bytes, *, only_if: Condition | None = None, retain_until: datetime | None = None
    ) -> str:
        del retain_until  # a folder cannot hold anybody back
        with _explained(self, key), self._written(key, [data]) as file:
            if only_if is None:
                self._move(file, key)
            else:
                with self._guard():
                    self._require(key, only_if)
                    self._move(file, key)
        return _etag(data)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> None:
        with _explained(self, key), self._written(key, chunks) as file:
            self._move(file, key)

    def get(self, key: str) -> tuple[bytes, str]:
        with _explained(self, key), self._path(key).open("rb") as file:
            data = file.read(SMALL_BYTES + 1)
        if len(data) > SMALL_BYTES:
            raise DamagedError(f"{key} in {self.name} has more than {SMALL_BYTES} bytes: this is not what was written")
        return data, _etag(data)

    def get_stream(self, key: str) -> Iterator[bytes]:
        with _explained(self, key), self._path(key).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def find(self, prefix: str) -> Iterator[Found]:
        with _explained(self, prefix):
            start = self._root / PurePosixPath(prefix if prefix.endswith("/") else prefix.rpartition("/")[0])
            self._require_root()
            files = (Path(folder) / name for folder, _, names in os.walk(start, onerror=_unreadable) for name in names)
            keys = sorted((file.relative_to(self._root).as_posix(), file) for file in files)
        for key, file in keys:
            if not key.startswith(prefix) or any(part.startswith(".") for part in key.split("/")):
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile: not there
                stat = file.stat()
                yield Found(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def folders(self, prefix: str) -> list[str]:
        with _explained(self, prefix):
            self._require_root()
            parent = self._root / PurePosixPath(prefix)
            if not parent.is_dir():
                return []
            return sorted(
                p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".") and any(p.iterdir())
            )

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _explained(self, key):
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._root:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break  # something else is in it

    def unfinished(self, prefix: str) -> list[str]:
        incoming = self._root / _INCOMING
        with _explained(self, prefix):
            if not incoming.is_dir():
                return []
            begun = _flat(prefix)
            return sorted(file.name for file in incoming.iterdir() if file.name.startswith(begun))

    def abort(self, name: str) -> None:
        with _explained(self, name):
            (self._root / _INCOMING / name).unlink(missing_ok=True)

    def _require_root(self) -> None:
        """A volume that is not mounted is no empty one. Raises: DestinationError."""
        if not self._root.is_dir():
            raise DestinationError(f"{self.name} is not there: mount the volume, or make the folder in it")

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or any(part.startswith(".") for part in parts):
            raise ValueError(f"{key!r} is no key of an object")
        return self._root / PurePosixPath(key)

    @contextlib.contextmanager
    def _written(self, key: str, chunks: Iterable[bytes]) -> Iterator[Path]:
        """A complete, synced file beside its place; gone afterwards if nobody moved it."""
        self._require_root()
        incoming = self._root / _INCOMING
        incoming.mkdir(mode=0o700, exist_ok=True)
        file = incoming / f"{_flat(key)}.{secrets.token_hex(8)}"
        try:
            with file.open("xb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            yield file
        finally:
            file.unlink(missing_ok=True)

    def _move(self, file: Path, key: str) -> None:
        path = self._path(key)
        for _ in range(3):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file.replace(path)
            except FileNotFoundError:
                continue  # a delete beside us took the empty folder away
            break
        else:
            raise DestinationError(
                f"{key} in {self.name}: its folder vanishes again and again: find out who deletes it"
            )
        for folder in (path.parent, path.parent.parent):
            _sync(folder)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        with (self._root / _GUARD).open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # held for one small rename; the kernel frees it with its holder
            yield

    def _require(self, key: str, condition: Condition) -> None:
        try:
            found: str | None = _etag(self._path(key).read_bytes())
        except FileNotFoundError:
            found = None
        if (condition.absent and found is not None) or (condition.etag is not None and condition.etag != found):
            raise ConflictError(f"{key} in {self.name} is not what was expected: somebody else wrote it")


def _unreadable(error: OSError) -> None:
    """What cannot be looked into is not empty, unless it is not there."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _flat(key: str) -> str:
    return key.replace("/", "%")


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(folder: Folder, key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{key} is not in {folder.name}: it was deleted, or never finished") from error
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpaceError(
                f"{folder.name} is full: enlarge the volume or keep copies for a shorter time"
            ) from error
        raise DestinationError(
            f"{folder.name}: {key}: {error.strerror}: check the volume and its permissions"
        ) from error
