"""Signed tree heads: what the log says about itself, and can never take back.

A checkpoint is a signed note (C2SP signed-note and tlog-checkpoint, as Go's checksum database uses them), so that an
auditor may check it with tools that are not ours:

    shieldx.io/credits/<ledger id>          origin, also the name of the key
    1234                                    leaves in the tree
    <root hash in base64>
    time 2030-01-31T12:00:00.000000Z        when it was signed
    chains <SHA-256 in hex>                 over the ends of the writers' chains at this point of the log
    <empty line>
    — <origin> <base64 of key id (4 bytes) and Ed25519 signature (64 bytes)>

There is exactly one text for each checkpoint, and only that text is accepted: a changed byte anywhere is seen.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shieldx_runtime.core.merkle import HASH_BYTES, MAX_SIZE
from shieldx_runtime.core.vault import read_key

MAX_NOTE_BYTES: Final = 2048
_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_ORIGIN: Final = re.compile(r"[a-z0-9][a-z0-9./-]{0,199}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_PEM_BLOCK: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class CheckpointError(Exception):
    """A checkpoint or its signature is wrong; the message says what."""


class KeyFileError(Exception):
    """A key cannot be used; the message says why and never repeats it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the log at one time. `root` and `chains` are SHA-256 digests; `signed_at` is in UTC."""

    origin: str
    size: int
    root: bytes
    signed_at: datetime
    chains: bytes

    def text(self) -> str:
        """The one canonical text, which is what is signed."""
        root = base64.b64encode(self.root).decode()
        signed_at = self.signed_at.astimezone(UTC).strftime(_TIME)
        return f"{self.origin}\n{self.size}\n{root}\ntime {signed_at}\nchains {self.chains.hex()}\n"


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes by which a signature names its key (signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


class Signer:
    """The private key of a log."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = _raw(private.public_key())

    @classmethod
    def from_text(cls, text: str) -> "Signer":
        """Reads an unencrypted PKCS#8 key in PEM, or the 32 bytes of a key in base64.

        Raises:
            KeyFileError: it is none, or not for Ed25519.
        """
        seed = read_key(text.strip())
        return cls(Ed25519PrivateKey.from_private_bytes(seed)) if seed else cls._from_pem(text.encode())

    @classmethod
    def _from_pem(cls, pem: bytes) -> "Signer":
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # from None: the original message may describe the content
            raise KeyFileError(f"it is no private key: {_HOW_TO_MAKE}") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"it is no Ed25519 key: {_HOW_TO_MAKE}")
        return cls(private)

    def public_pem(self) -> str:
        """What auditors are given."""
        return (
            self._private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note. Raises: CheckpointError, the checkpoint is not one that `parse` would accept."""
        text = checkpoint.text()
        if parse(text) != checkpoint:
            raise CheckpointError(f"a checkpoint of {checkpoint.origin!r} that cannot be written down exactly")
        signature = key_id(checkpoint.origin, self._public) + self._private.sign(text.encode())
        return f"{text}\n— {checkpoint.origin} {base64.b64encode(signature).decode()}\n"


_HOW_TO_MAKE: Final = "make one with `openssl genpkey -algorithm ed25519`"


class Verifier:
    """The public keys of a log: several, where its key has been changed."""

    def __init__(self, keys: Sequence[Ed25519PublicKey]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def from_pem(cls, pem: bytes) -> "Verifier":
        """Reads one or more public keys, one after the other.

        Raises:
            KeyFileError: there is none, or one is not for Ed25519.
        """
        keys: list[Ed25519PublicKey] = []
        for block in _PEM_BLOCK.findall(pem):
            try:
                key = serialization.load_pem_public_key(block)
            except (ValueError, UnsupportedAlgorithm) as error:
                raise KeyFileError(f"public key {len(keys) + 1} of the file cannot be read") from error
            if not isinstance(key, Ed25519PublicKey):
                raise KeyFileError(f"public key {len(keys) + 1} of the file is not for Ed25519")
            keys.append(key)
        if not keys:
            raise KeyFileError("it holds no public key in PEM (-----BEGIN PUBLIC KEY-----)")
        return cls(keys)

    def open(self, note: str) -> Checkpoint:
        """The checkpoint in a note that one of the keys has signed.

        Raises:
            CheckpointError: the note is malformed, of an unknown key, or not what was signed.
        """
        text, signer, signature = _split_note(note)
        checkpoint = parse(text)
        if signer != checkpoint.origin:
            raise CheckpointError(f"the signature's name {signer!r} is not the origin {checkpoint.origin!r}")
        for key in self._keys:
            if hmac.compare_digest(key_id(signer, _raw(key)), signature[:_KEY_ID_BYTES]):
                try:
                    key.verify(signature[_KEY_ID_BYTES:], text.encode())
                except InvalidSignature as error:
                    raise CheckpointError(f"the signature of the checkpoint at {checkpoint.size} is wrong") from error
                return checkpoint
        raise CheckpointError(
            f"the checkpoint at {checkpoint.size} is signed by key {signature[:_KEY_ID_BYTES].hex()}, "
            "which is none of the public keys given: add the log's earlier or later key to the file"
        )


def _split_note(note: str) -> tuple[str, str, bytes]:
    if len(note.encode()) > MAX_NOTE_BYTES:
        raise CheckpointError(f"a checkpoint has at most {MAX_NOTE_BYTES} bytes")
    text, separator, last = note.partition("\n\n")
    mark, _, rest = last.partition(" ")
    name, _, encoded = rest.partition(" ")
    if not separator or mark != "—" or not encoded.endswith("\n"):
        raise CheckpointError("it is no signed note: text, an empty line and one signature line are expected")
    return text + "\n", name, _decode(encoded[:-1], _KEY_ID_BYTES + 64, "signature")


def parse(text: str) -> Checkpoint:
    """The checkpoint in an unsigned text. Only the canonical text is accepted.

    Raises:
        CheckpointError: it says which line is wrong.
    """
    lines = text.split("\n")
    if len(lines) != 6 or lines[5]:  # noqa: PLR2004 - five lines, each ended
        raise CheckpointError(f"a checkpoint has 5 lines, not {len(lines) - 1}")
    origin, size, root, time_line, chains_line = lines[:5]
    if not _ORIGIN.fullmatch(origin):
        raise CheckpointError("line 1 is no origin")
    if not _NUMBER.fullmatch(size) or int(size) > MAX_SIZE:
        raise CheckpointError("line 2 is no number of leaves")
    return Checkpoint(
        origin=origin,
        size=int(size),
        root=_decode(root, HASH_BYTES, "root hash"),
        signed_at=_moment(time_line),
        chains=_digest(chains_line),
    )


def _moment(line: str) -> datetime:
    try:
        moment = datetime.strptime(line.removeprefix("time "), _TIME).replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or f"time {moment.strftime(_TIME)}" != line:
        raise CheckpointError("line 4 is not `time YYYY-MM-DDTHH:MM:SS.ffffffZ`")
    return moment


def _digest(line: str) -> bytes:
    keyword, _, digest = line.partition(" ")
    if keyword != "chains" or not _HEX.fullmatch(digest):
        raise CheckpointError("line 5 is not `chains <64 hexadecimal digits>`")
    return bytes.fromhex(digest)


def _decode(text: str, length: int, what: str) -> bytes:
    """Base64 in its one canonical form."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != length or base64.b64encode(content).decode() != text:
        raise CheckpointError(f"the {what} is not {length} bytes in base64")
    return content
