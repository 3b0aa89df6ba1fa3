"""The keys that seal copies. One seals new ones; all of them open old ones, so that a rotation loses nothing."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shieldx_contract.backup import ENV_BACKUP_KEY_ID, ENV_BACKUP_KEYS_DIR
from shieldx_runtime.backup.errors import SettingError, WrongKeyError

KEY_BYTES: Final = 32
KEY_ID_PATTERN: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_FILE_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Key:
    key_id: str
    secret: bytes = field(repr=False)

    def derive(self, purpose: bytes, salt: bytes = b"") -> bytes:
        """32 bytes for one purpose (HKDF-SHA-256, RFC 5869): no two purposes and salts share a key."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt or None, info=purpose).derive(self.secret)


@dataclass(frozen=True, slots=True)
class KeyRing:
    keys: Mapping[str, Key]
    active_id: str

    @property
    def active(self) -> Key:
        return self.keys[self.active_id]

    def get(self, key_id: str) -> Key:
        """Raises: WrongKeyError, there is none of that id."""
        key = self.keys.get(key_id)
        if key is None:
            raise WrongKeyError(
                f"key {key_id!r} sealed this copy and is not among {sorted(self.keys)}: "
                "put it back into the Secret of the backup keys; a retired key stays until its last copy is pruned"
            )
        return key


def load(folder: Path, active_id: str | None = None) -> KeyRing:
    """The keys of a mounted Secret: a file a key, its name the id, 32 bytes in base64.

    Raises:
        SettingError: there is none, one is not usable, or `active_id` is not one of them.
    """
    keys: dict[str, Key] = {}
    try:
        # a mounted Secret holds links and folders of the kubelet's own, all beginning with dots
        files = sorted(f for f in folder.iterdir() if not f.name.startswith(".") and f.is_file())
        for file in files:
            keys[file.name] = _read(file)
    except OSError as error:
        raise SettingError(
            f"{ENV_BACKUP_KEYS_DIR}: cannot read {folder}: {error.strerror}: mount the Secret"
        ) from error
    if not keys:
        raise SettingError(f"{ENV_BACKUP_KEYS_DIR}: {folder} holds no key: add one to the Secret")
    if active_id is None:
        if len(keys) > 1:
            raise SettingError(
                f"{ENV_BACKUP_KEY_ID}: not set, and there are {len(keys)} keys: name the one to seal with"
            )
        active_id = next(iter(keys))
    if active_id not in keys:
        raise SettingError(f"{ENV_BACKUP_KEY_ID}: no key {active_id!r} in {folder}: there are {sorted(keys)}")
    return KeyRing(MappingProxyType(keys), active_id)


def _read(file: Path) -> Key:
    if not re.fullmatch(KEY_ID_PATTERN, file.name):
        raise SettingError(f"{ENV_BACKUP_KEYS_DIR}: {file.name!r} is no key id: letters, digits, '.', '_', '-'")
    with file.open("rb") as stream:
        text = stream.read(_FILE_MAX_BYTES)
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingError(
            f"{ENV_BACKUP_KEYS_DIR}: key {file.name!r} is not {KEY_BYTES} bytes in base64: "
            f"make one with `head -c {KEY_BYTES} /dev/urandom | base64`"
        )
    return Key(file.name, secret)
