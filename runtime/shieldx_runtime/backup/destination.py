"""Where copies are kept: a small set of operations that S3 and a folder both do, in the same way.

Keys are paths with `/` between the parts. An object appears whole or not at all. A conditional put is how runs agree.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

SMALL_BYTES: Final = 64 << 20
"""What `get` reads at most: manifests, leases, segments of the audit log."""
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Found:
    """One object. `modified_at` is the destination's own time, in UTC."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """When a put may happen: `absent` nothing stands there; `etag` exactly that stands there."""

    absent: bool = False
    etag: str | None = None


class Destination(Protocol):
    """Every call is bounded in time and retried where that is safe.

    Raises (every call):
        DestinationError: refused, or no answer after the last try; the message says what to check.
        NoSpaceError: it is full.
    """

    @property
    def name(self) -> str:
        """What a person calls it; without secrets."""
        ...

    @property
    def locks(self) -> bool:
        """Whether objects can be put so that nobody can delete them before a time (S3 Object Lock)."""
        ...

    def put(
        self, key: str, data: bytes, *, only_if: Condition | None = None, retain_until: datetime | None = None
    ) -> str:
        """Puts a small object; its etag. Raises: ConflictError, the condition does not hold."""
        ...

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> None:
        """Puts an object of any length. Nothing appears under `key` unless all of it arrived."""
        ...

    def get(self, key: str) -> tuple[bytes, str]:
        """A small object and its etag. Raises: NotFoundError; DamagedError, it is larger than `SMALL_BYTES`."""
        ...

    def get_stream(self, key: str) -> Iterator[bytes]:
        """An object in pieces; a connection that breaks is taken up where it broke. Raises: NotFoundError."""
        ...

    def find(self, prefix: str) -> Iterator[Found]:
        """The objects whose keys begin with `prefix`, in the order of keys."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """The names directly below `prefix` (which ends with `/`) that have something below them, in order."""
        ...

    def delete(self, key: str) -> None:
        """Deletes; what is not there is as good as deleted."""
        ...

    def unfinished(self, prefix: str) -> list[str]:
        """Names of uploads below `prefix` that were begun and not finished, by anyone."""
        ...

    def abort(self, name: str) -> None:
        """Throws away an upload that `unfinished` named."""
        ...
