"""What a copy consists of. It is written last: a copy without a whole, authentic manifest is no copy."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from shieldx_runtime.backup.clock import moment_of
from shieldx_runtime.backup.errors import DamagedError
from shieldx_runtime.backup.keys import Key, KeyRing
from shieldx_runtime.core.ledger import Checkpoint

FORMAT: Final = 1
_PURPOSE: Final = b"shieldx backup record\0"


class Stream(StrEnum):
    DATABASE = "database"
    CACHE = "cache"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One sealed object of a copy. `key` is below the copy's own folder; `plain_*` are of what was sealed."""

    key: str
    size_bytes: int
    sha256: str
    plain_size_bytes: int
    plain_sha256: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last segment of the audit stream that was shipped before a dump's snapshot: replay begins after it."""

    line: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`taken_at` is the moment that the content is of; times are RFC 3339 in UTC. `rows` counts by table."""

    service: str
    stream: Stream
    backup_id: str
    taken_at: str
    finished_at: str
    key_id: str
    artifacts: tuple[Artifact, ...]
    tools: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    audit_head: AuditHead | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(a.size_bytes for a in self.artifacts)

    @property
    def plain_size_bytes(self) -> int:
        return sum(a.plain_size_bytes for a in self.artifacts)

    def context(self, artifact_key: str) -> str:
        """What an artifact is sealed as: it opens in this place and in no other."""
        return context_of(self.service, self.stream, self.backup_id, artifact_key)


def context_of(service: str, stream: Stream, backup_id: str, artifact_key: str) -> str:
    return f"{service}/{stream}/{backup_id}/{artifact_key}"


def encode(manifest: Manifest, key: Key) -> bytes:
    return sign({"format": FORMAT, **asdict(manifest)}, key)


def decode(data: bytes, ring: KeyRing | None) -> Manifest:
    """The manifest in `data`. Without keys its authenticity is not looked at.

    Raises:
        DamagedError: it is not whole, not of this format, or not authentic.
        WrongKeyError: the key that signed it is missing.
    """
    document = authentic(data, ring)
    try:
        if document.pop("format") != FORMAT:
            raise DamagedError("the manifest has another format than this program reads: use a newer one")
        moment_of(document["taken_at"])
        moment_of(document["finished_at"])
        checkpoint, head = document.pop("checkpoint"), document.pop("audit_head")
        return Manifest(
            stream=Stream(document.pop("stream")),
            artifacts=tuple(Artifact(**a) for a in document.pop("artifacts")),
            checkpoint=Checkpoint(**checkpoint) if checkpoint else None,
            audit_head=AuditHead(**head) if head else None,
            **document,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"the manifest is not what this program writes ({error}): the copy cannot be used"
        ) from error


def sign(document: Mapping[str, Any], key: Key) -> bytes:
    """The document with its key id and a MAC (HMAC-SHA-256), as JSON."""
    body = {**document, "key_id": key.key_id}
    return json.dumps({**body, "mac": _mac(body, key)}, indent=1, sort_keys=True).encode()


def authentic(data: bytes, ring: KeyRing | None) -> dict[str, Any]:
    """A signed document without its MAC.

    Raises:
        DamagedError: it is no JSON object, or the MAC is another one.
        WrongKeyError: the key that signed it is missing.
    """
    try:
        document = json.loads(data)
        mac, key_id = document.pop("mac"), document["key_id"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError("it is not a whole signed record: it was cut off or altered") from error
    if ring is not None and not hmac.compare_digest(str(mac), _mac(document, ring.get(str(key_id)))):
        raise DamagedError(f"its MAC under key {key_id!r} is another one: it was altered, or that key's content was")
    result: dict[str, Any] = document
    return result


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mac(body: Mapping[str, Any], key: Key) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key.derive(_PURPOSE), canonical, hashlib.sha256).hexdigest()
