"""Texts that can be made unreadable for good: each tenant has a key, and destroying it destroys them all.

An envelope. A master key, out of a Secret, wraps the data keys of tenants; a data key seals texts. Both by AES-256-GCM
with a random nonce of 96 bits, under associated data that says what the text is: one that is moved to another tenant,
field or row does not open. A sealed text is `sxe1.<key id>.<base64 of nonce, ciphertext and tag>`; a wrapped data
key is the nonce, the ciphertext and the tag.

A text that was stored without a vault stays as it is. One that merely looks sealed is escaped by `sxp1.`, so that
every text comes back as it went in.
"""

import base64
import binascii
import hmac
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_SEALS: Final = 2**28
"""Texts that one process seals under one data key: with 16 processes that is 2**32, the bound of NIST SP 800-38D
for random nonces."""

_NONCES_AT_ONCE: Final = 64
_MAX_MASTER_KEYS: Final = 32
_KEY_ID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,30}[A-Za-z0-9])?")
_SEALED: Final = re.compile(r"sxe1\.([0-9a-f]{16})\.([A-Za-z0-9+/]{38,}={0,2})")
_SEALED_PREFIX: Final = "sxe1."
_PLAIN_PREFIX: Final = "sxp1."


class VaultError(Exception):
    """A key or a sealed text cannot be used; the message says why and repeats neither."""


class WrongKeyError(VaultError):
    """The key that is needed is not there."""


class TamperedError(VaultError):
    """What was sealed is not what is there now, or it is not in its place."""


class KeyDestroyedError(VaultError):
    """The tenant's key was destroyed, as asked: its texts are gone."""


class KeyWornOutError(VaultError):
    """The data key has sealed as much as it safely can: make the tenant's next one."""


def same_secret(left: bytes, right: bytes) -> bool:
    """Compares in a time that says nothing about where two secrets differ."""
    return hmac.compare_digest(left, right)


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """`active_id` wraps new data keys; all open old ones, so that a rotation loses nothing."""

    keys: Mapping[str, bytes] = field(repr=False)
    active_id: str

    def wrap(self, tenant_id: str, key_id: str, data_key: bytes) -> bytes:
        """A data key, sealed under the active master key for this tenant and this id."""
        return _seal(AESGCM(self.keys[self.active_id]), data_key, _wrap_context(self.active_id, tenant_id, key_id))

    def unwrap(self, master_id: str, tenant_id: str, key_id: str, wrapped: bytes) -> bytes:
        """The data key.

        Raises:
            WrongKeyError: there is no master key `master_id`, or another one has its name.
        """
        master = self.keys.get(master_id)
        if master is None:
            raise WrongKeyError(
                f"master key {master_id!r} wraps data key {key_id} of tenant {tenant_id!r} and is not among "
                f"{sorted(self.keys)}: put it back into the Secret of the master keys"
            )
        try:
            return _open(AESGCM(master), wrapped, _wrap_context(master_id, tenant_id, key_id))
        except InvalidTag as error:
            raise WrongKeyError(
                f"data key {key_id} of tenant {tenant_id!r} does not open under master key {master_id!r}: either "
                "another secret has its name in the Secret of the master keys, or the stored key was changed"
            ) from error


def parse_master_keys(text: str) -> MasterKeys:
    """Reads lines `<key id> <32 bytes in base64>`; the first is the active one. Empty lines and `#` lines are skipped.

    Raises:
        VaultError: there is none, or it says which line is wrong.
    """
    keys: dict[str, bytes] = {}
    active_id = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key_id, _, encoded = line.strip().partition(" ")
        secret = read_key(encoded.strip())
        if not _KEY_ID.fullmatch(key_id) or secret is None:
            raise VaultError(
                f"line {number} is not `<key id> <{KEY_BYTES} bytes in base64>`: "
                f"make a key with `head -c {KEY_BYTES} /dev/urandom | base64`"
            )
        if key_id in keys:
            raise VaultError(f"line {number} has key id {key_id!r} a second time: give each key its own")
        keys[key_id] = secret
        active_id = active_id or key_id
    if not 1 <= len(keys) <= _MAX_MASTER_KEYS:
        raise VaultError(f"it has {len(keys)} master keys: there must be 1 to {_MAX_MASTER_KEYS}, the active one first")
    return MasterKeys(MappingProxyType(keys), active_id)


def read_key(text: str) -> bytes | None:
    """32 bytes out of base64 or base64url, with padding or without; None where it is not that."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    key = _base64(plain + "=" * (-len(plain) % 4))
    return key if key is not None and len(key) == KEY_BYTES else None


def new_data_key() -> tuple[str, bytes]:
    """A fresh key id and its 32 bytes."""
    return secrets.token_hex(8), secrets.token_bytes(KEY_BYTES)


def _nonces() -> Iterator[bytes]:
    """Random nonces, each once; the system is asked for many at a time."""
    while True:
        pool = os.urandom(NONCE_BYTES * _NONCES_AT_ONCE)
        for start in range(0, len(pool), NONCE_BYTES):
            yield pool[start : start + NONCE_BYTES]


# a generator that two threads enter at once raises: it never gives both the same
_fresh_nonces = _nonces()


def _renew_nonces() -> None:
    """A forked child must not go on with its parent's; and those that an error has ended give no more."""
    global _fresh_nonces  # noqa: PLW0603 - one for the process
    _fresh_nonces = _nonces()


os.register_at_fork(after_in_child=_renew_nonces)


class DataKey:
    """One key of one tenant, in use."""

    __slots__ = ("_cipher", "_contexts", "_left", "_prefix", "key_id", "tenant_id")

    def __init__(self, tenant_id: str, key_id: str, secret: bytes, *, max_seals: int = MAX_SEALS) -> None:
        self.tenant_id = tenant_id
        self.key_id = key_id
        self._cipher = AESGCM(secret)
        self._left = max_seals
        self._prefix = f"{_SEALED_PREFIX}{key_id}."
        self._contexts: dict[str, bytes] = {}

    def seal(self, name: str, row: bytes, text: str) -> str:
        """`text`, sealed for the field `name` of the row that `row` names.

        Raises:
            KeyWornOutError: the key has sealed as many texts as it may.
        """
        if self._left <= 0:
            raise KeyWornOutError(f"data key {self.key_id} of tenant {self.tenant_id!r} is worn out: make a new one")
        self._left -= 1
        try:
            nonce = next(_fresh_nonces)
        except StopIteration:  # the system once had none to give, which has ended them
            _renew_nonces()
            nonce = next(_fresh_nonces)
        sealed = nonce + self._cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), self._context(name, row))
        return self._prefix + binascii.b2a_base64(sealed, newline=False).decode("ascii")

    def open(self, name: str, row: bytes, stored: str) -> str:
        """The text again.

        Raises:
            WrongKeyError: another key sealed it.
            TamperedError: it was changed, or sealed for another tenant, field or row.
        """
        match = _SEALED.fullmatch(stored)
        if match is None:
            raise TamperedError(f"field {name!r} of tenant {self.tenant_id!r} is no sealed text")
        if match[1] != self.key_id:
            raise WrongKeyError(f"field {name!r} is sealed under data key {match[1]}, not {self.key_id}")
        sealed = _base64(match[2]) or b""
        try:
            return _open(self._cipher, sealed, self._context(name, row)).decode("utf-8", "surrogatepass")
        except InvalidTag as error:
            raise TamperedError(
                f"field {name!r} of tenant {self.tenant_id!r} does not open: it was changed after it was sealed, or "
                "belongs to another tenant, field or row"
            ) from error

    def _context(self, name: str, row: bytes) -> bytes:
        # of the two a service has, each is asked for with every text
        start = self._contexts.get(name)
        if start is None:
            start = _context(b"shieldx text 1", self.tenant_id.encode(), self.key_id.encode(), name.encode())
            self._contexts[name] = start
        return start + len(row).to_bytes(4, "big") + row


def key_id_of(stored: str) -> str | None:
    """Which data key sealed a stored text; None where none did."""
    match = _SEALED.fullmatch(stored)
    return match[1] if match else None


def store_plain(text: str) -> str:
    """What to store where there is no vault: a text that could be taken for a sealed one is marked."""
    return _PLAIN_PREFIX + text if text.startswith((_SEALED_PREFIX, _PLAIN_PREFIX)) else text


def read_plain(stored: str) -> str:
    """The text that `store_plain` stored."""
    return stored.removeprefix(_PLAIN_PREFIX)


def _seal(cipher: AESGCM, content: bytes, context: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, context)


def _open(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    """Raises: InvalidTag."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise InvalidTag
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)


def _wrap_context(master_id: str, tenant_id: str, key_id: str) -> bytes:
    return _context(b"shieldx data key 1", master_id.encode(), tenant_id.encode(), key_id.encode())


def _context(*parts: bytes) -> bytes:
    """Each part behind its length: no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
