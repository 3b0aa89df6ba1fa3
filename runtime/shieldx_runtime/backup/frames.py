"""Sealed objects: AES-256-GCM in frames, so that any length streams in constant memory and no byte is used unproved.

Layout, integers big-endian:

    magic "SXBK" | version 1 | codec | frame size (4) | length and key id (1+n) | length and context (2+n) | salt (32)
    | key check (16) | frame | frame | ... | last frame

The object's own key is HKDF-SHA-256(key, salt, everything before the key check), so that no two objects share a key
and no field of the header can be changed. Each frame holds `frame size` bytes, the last one fewer or as many; its
nonce is its number (11 bytes) and whether it is the last (1 byte), as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár,
"Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015). A frame that is cut off, moved,
repeated, altered or taken from elsewhere does not open. The context says what the object is (which copy, which part):
an object put in the place of another does not open either. The key check tells a wrong key from a damaged object.
"""

import hmac
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shieldx_runtime.backup.errors import DamagedError, WrongKeyError
from shieldx_runtime.backup.keys import Key, KeyRing

MAGIC: Final = b"SXBK"
VERSION: Final = 1
FRAME_BYTES: Final = 1 << 20
MAX_FRAME_BYTES: Final = 16 << 20
TAG_BYTES: Final = 16
_SALT_BYTES: Final = 32
_CHECK_BYTES: Final = 16
_FIXED: Final = struct.Struct(">4sBBI")
MAX_HEADER_BYTES: Final = _FIXED.size + 1 + 255 + 2 + 1024 + _SALT_BYTES + _CHECK_BYTES
_MAX_CONTEXT_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the frames. `signed` is the part that the object's key is derived from."""

    codec: int
    frame_bytes: int
    key_id: str
    context: str
    salt: bytes

    @property
    def signed(self) -> bytes:
        key_id, context = self.key_id.encode(), self.context.encode()
        return b"".join(
            (
                _FIXED.pack(MAGIC, VERSION, self.codec, self.frame_bytes),
                struct.pack(">B", len(key_id)),
                key_id,
                struct.pack(">H", len(context)),
                context,
                self.salt,
            )
        )

    def keys(self, key: Key) -> tuple[AESGCM, bytes]:
        """The object's cipher and its key check."""
        cipher = AESGCM(key.derive(b"shieldx backup frames\0" + self.signed, self.salt))
        return cipher, key.derive(b"shieldx backup check\0" + self.signed, self.salt)[:_CHECK_BYTES]


def seal(
    chunks: Iterable[bytes], key: Key, *, codec: int, context: str, frame_bytes: int = FRAME_BYTES
) -> Iterator[bytes]:
    """The sealed object of `chunks`, in pieces of about a frame."""
    if not 0 < frame_bytes <= MAX_FRAME_BYTES or len(context.encode()) > _MAX_CONTEXT_BYTES:
        raise ValueError(f"a frame of {frame_bytes} bytes or a context of {len(context)} characters is out of bounds")
    header = Header(codec, frame_bytes, key.key_id, context, secrets.token_bytes(_SALT_BYTES))
    cipher, check = header.keys(key)
    yield header.signed + check
    held = bytearray()
    number = 0
    for chunk in chunks:
        held += chunk
        # a full frame is kept back until more comes: the last one must be marked as such
        while len(held) > frame_bytes:
            yield cipher.encrypt(_nonce(number, last=False), bytes(held[:frame_bytes]), None)
            del held[:frame_bytes]
            number += 1
    yield cipher.encrypt(_nonce(number, last=True), bytes(held), None)


def open_sealed(chunks: Iterable[bytes], ring: KeyRing, *, context: str) -> tuple[Header, Iterator[bytes]]:
    """The header, and the plain frames; reading them to their end proves the whole.

    Raises (also while reading):
        WrongKeyError: no key, or another key under that id.
        DamagedError: not a sealed object, another object than `context` says, cut off or altered.
    """
    source = _Source(chunks)
    header, check = _read_header(source)
    if header.context != context:
        raise DamagedError(f"this is {header.context!r} where {context!r} should be: objects were exchanged")
    cipher, expected = header.keys(ring.get(header.key_id))
    if not hmac.compare_digest(check, expected):
        raise WrongKeyError(
            f"key {header.key_id!r} of the Secret is not the one that sealed {context!r} (or its header was altered): "
            "put the original content of that key back, and give a new key a new id"
        )
    return header, _frames(source, cipher, header)


def _frames(source: "_Source", cipher: AESGCM, header: Header) -> Iterator[bytes]:
    number = 0
    size = header.frame_bytes + TAG_BYTES
    frame = source.take(size)
    while True:
        following = source.take(size) if len(frame) == size else b""
        try:
            plain = cipher.decrypt(_nonce(number, last=not following), frame, None)
        except (InvalidTag, ValueError) as error:
            raise DamagedError(
                f"{header.context!r} does not open at frame {number} (byte {number * header.frame_bytes} of the "
                "content): it was cut off or altered; use another copy"
            ) from error
        yield plain
        if not following:
            return
        frame, number = following, number + 1


def _read_header(source: "_Source") -> tuple[Header, bytes]:
    fixed = source.take(_FIXED.size)
    if len(fixed) < _FIXED.size or not fixed.startswith(MAGIC):
        raise DamagedError("this is no sealed object: its first bytes are not SXBK")
    _, version, codec, frame_bytes = _FIXED.unpack(fixed)
    if version != VERSION:
        raise DamagedError(f"this object has format version {version}, this program reads {VERSION}: use a newer one")
    if not 0 < frame_bytes <= MAX_FRAME_BYTES:
        raise DamagedError(f"its header asks for frames of {frame_bytes} bytes: it was altered")
    try:
        key_id = source.take(source.exactly(1)[0]).decode()
        context = source.take(struct.unpack(">H", source.exactly(2))[0]).decode()
    except UnicodeDecodeError as error:
        raise DamagedError("its header is no text: it was altered") from error
    salt = source.exactly(_SALT_BYTES)
    return Header(codec, frame_bytes, key_id, context, salt), source.exactly(_CHECK_BYTES)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class _Source:
    """Chunks of any size as pieces of a wanted size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        while len(self._held) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._held += chunk
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def exactly(self, size: int) -> bytes:
        taken = self.take(size)
        if len(taken) < size:
            raise DamagedError("it ends within its header: it was cut off")
        return taken
