"""The keys of audit and privacy: both may be missing where nobody depends on them, and both may change at any time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shieldx_contract import ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE, ENV_SEAL_INTERVAL_S
from shieldx_runtime.core import log
from shieldx_runtime.core.checkpoint import KeyFileError, Signer
from shieldx_runtime.core.settings import SettingsError, read_secret
from shieldx_runtime.core.vault import MasterKeys, VaultError, parse_master_keys

_DEFAULT_INTERVAL_S: Final = 10.0
_MIN_INTERVAL_S: Final = 0.05
_MAX_INTERVAL_S: Final = 3600.0
_LOOK_AGAIN_S: Final = 5.0
_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`signing_key` None: nothing is sealed. `masters` without a file: texts are stored as they are."""

    signing_key: "SigningKeyFile | None"
    masters: "MasterKeysFile"
    seal_interval_s: float

    def warn(self) -> None:
        """Says in the log what is missing and what that means."""
        if self.signing_key is None:
            _logger.warning(
                "nothing is sealed: the audit log can be changed unseen",
                problem=f"{ENV_AUDIT_SIGNING_KEY_FILE} is not set",
                remedy="mount an Ed25519 private key (openssl genpkey -algorithm ed25519) and name its file",
            )
        if self.masters.path is None:
            _logger.warning(
                "descriptions and references are stored unencrypted and cannot be erased",
                problem=f"{ENV_MASTER_KEYS_FILE} is not set",
                remedy="mount a file with `<key id> <32 bytes in base64>` and name it",
            )


class SigningKeyFile:
    """Reads the key whenever something is signed: a rotated one is taken up by the next checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def signer(self) -> Signer:
        """Raises: SettingsError, the file cannot be read, or holds no Ed25519 key."""
        try:
            return Signer.from_text(read_secret(self._path, ENV_AUDIT_SIGNING_KEY_FILE))
        except KeyFileError as error:
            raise SettingsError(f"{ENV_AUDIT_SIGNING_KEY_FILE}: {self._path}: {error}") from error


class MasterKeysFile:
    """Looks at the file now and then: a rotation needs no restart."""

    def __init__(self, path: Path | None) -> None:
        """Raises: SettingsError, the file cannot be read, or is wrong."""
        self.path = path
        self._keys = self._read() if path else None
        self._looked = time.monotonic()

    def current(self) -> MasterKeys | None:
        """The keys as they are in the file. While it cannot be read, those that were there last."""
        now = time.monotonic()
        if self.path is not None and now - self._looked >= _LOOK_AGAIN_S:
            self._looked = now
            try:
                self._keys = self._read()
            except SettingsError as error:
                _logger.error("the master keys cannot be read anew", problem=str(error))  # noqa: TRY400
        return self._keys

    def _read(self) -> MasterKeys | None:
        if self.path is None:
            return None
        try:
            return parse_master_keys(read_secret(self.path, ENV_MASTER_KEYS_FILE))
        except VaultError as error:
            raise SettingsError(f"{ENV_MASTER_KEYS_FILE}: {self.path}: {error}") from error


def load_audit(environ: Mapping[str, str]) -> AuditSettings:
    """The keys and the pace of sealing.

    Raises:
        SettingsError: a file that is named cannot be used, or a number is none.
    """
    signing, masters = environ.get(ENV_AUDIT_SIGNING_KEY_FILE, ""), environ.get(ENV_MASTER_KEYS_FILE, "")
    signing_key = SigningKeyFile(Path(signing)) if signing else None
    if signing_key:
        signing_key.signer()
    return AuditSettings(signing_key, MasterKeysFile(Path(masters) if masters else None), _interval(environ))


def _interval(environ: Mapping[str, str]) -> float:
    text = environ.get(ENV_SEAL_INTERVAL_S, "")
    try:
        value = float(text) if text else _DEFAULT_INTERVAL_S
    except ValueError:
        value = -1.0
    if not _MIN_INTERVAL_S <= value <= _MAX_INTERVAL_S:
        raise SettingsError(
            f"{ENV_SEAL_INTERVAL_S}: {text!r} is not a number from {_MIN_INTERVAL_S} to {_MAX_INTERVAL_S:g}: set one"
        )
    return value
