"""A command's context out of the environment; secrets out of the files that it names."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from shieldx_contract import (
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    SECRET_S3_ACCESS_KEY_ID,
    SECRET_S3_SECRET_ACCESS_KEY,
)
from shieldx_contract.backup import (
    ENV_BACKUP_DEADLINE_S,
    ENV_BACKUP_DESTINATION,
    ENV_BACKUP_KEEP_AUDIT_DAYS,
    ENV_BACKUP_KEEP_DAYS,
    ENV_BACKUP_KEY_ID,
    ENV_BACKUP_KEYS_DIR,
    ENV_BACKUP_S3_CA_FILE,
    ENV_BACKUP_S3_CREDENTIALS_DIR,
    ENV_BACKUP_S3_ENDPOINT,
    ENV_BACKUP_S3_PATH_STYLE,
    ENV_BACKUP_S3_REGION,
    ENV_BACKUP_SCRATCH_BYTES,
    ENV_BACKUP_SCRATCH_DATABASE_BYTES,
    ENV_BACKUP_SCRATCH_DIR,
    ENV_BACKUP_SCRATCH_URI_FILE,
    ENV_BACKUP_SERVICE,
    ENV_BACKUP_TARGET_URI_FILE,
)
from shieldx_runtime.backup import keys, tools
from shieldx_runtime.backup.clock import Deadline
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.destination import Destination
from shieldx_runtime.backup.errors import SettingError
from shieldx_runtime.backup.folder import Folder
from shieldx_runtime.backup.postgres import Address, read_address
from shieldx_runtime.core.ledger import Ledger
from shieldx_runtime.core.settings import SettingsError, read_secret

KEEP_DAYS: Final = 30
KEEP_AUDIT_DAYS: Final = 365
DEADLINE_S: Final = 6 * 3600
_MAX_DAYS: Final = 3660
_MAX_DEADLINE_S: Final = 7 * 24 * 3600
_MAX_BYTES: Final = 1 << 60
_SERVICE_PATTERN: Final = r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?"
_YES: Final = {"true": True, "false": False}


def load(environ: Mapping[str, str], ledger: Ledger | None) -> Context:
    """What every command needs. Database and cache are looked at where they are named.

    Raises:
        SettingError: a variable is missing or wrong, or a file cannot be read.
    """
    service = environ.get(ENV_BACKUP_SERVICE, "")
    if not re.fullmatch(_SERVICE_PATTERN, service):
        raise SettingError(f"{ENV_BACKUP_SERVICE}: {service!r} is not <namespace>.<name>: set it")
    scratch_dir = Path(environ.get(ENV_BACKUP_SCRATCH_DIR) or tempfile.gettempdir())
    if not scratch_dir.is_dir():
        raise SettingError(f"{ENV_BACKUP_SCRATCH_DIR}: {scratch_dir} is no folder: mount a volume there")
    database_file, cache_file = environ.get(ENV_DATABASE_URI_FILE), environ.get(ENV_CACHE_URI_FILE)
    return Context(
        destination=destination(environ),
        service=service,
        ring=keys.load(_folder(environ, ENV_BACKUP_KEYS_DIR), environ.get(ENV_BACKUP_KEY_ID) or None),
        programs=tools.find(environ),
        deadline=Deadline(number(environ, ENV_BACKUP_DEADLINE_S, DEADLINE_S, _MAX_DEADLINE_S)),
        scratch_dir=scratch_dir,
        scratch_bytes=_bytes(environ, ENV_BACKUP_SCRATCH_BYTES),
        scratch_database_bytes=_bytes(environ, ENV_BACKUP_SCRATCH_DATABASE_BYTES),
        ledger=ledger,
        database=read_address(Path(database_file), ENV_DATABASE_URI_FILE) if database_file else None,
        cache_uri=_secret(Path(cache_file), ENV_CACHE_URI_FILE) if cache_file else None,
        keep_audit_days=keep_audit_days(environ),
    )


def _bytes(environ: Mapping[str, str], variable: str) -> int | None:
    """A size; None where nobody says it."""
    return int(number(environ, variable, 0, _MAX_BYTES)) or None


def database(environ: Mapping[str, str]) -> Address:
    """The service's database alone, for what needs neither copies nor keys. Raises: SettingError."""
    return read_address(_file(environ, ENV_DATABASE_URI_FILE), ENV_DATABASE_URI_FILE)


def keep_days(environ: Mapping[str, str]) -> int:
    return int(number(environ, ENV_BACKUP_KEEP_DAYS, KEEP_DAYS, _MAX_DAYS))


def keep_audit_days(environ: Mapping[str, str]) -> int:
    return int(number(environ, ENV_BACKUP_KEEP_AUDIT_DAYS, KEEP_AUDIT_DAYS, _MAX_DAYS))


def target(environ: Mapping[str, str]) -> Address:
    """Where `restore` restores to. Raises: SettingError."""
    return read_address(_file(environ, ENV_BACKUP_TARGET_URI_FILE), ENV_BACKUP_TARGET_URI_FILE)


def scratch(environ: Mapping[str, str]) -> Address:
    """Where `drill` makes its database. Raises: SettingError."""
    return read_address(_file(environ, ENV_BACKUP_SCRATCH_URI_FILE), ENV_BACKUP_SCRATCH_URI_FILE)


def destination(environ: Mapping[str, str]) -> Destination:
    """Raises: SettingError."""
    text = environ.get(ENV_BACKUP_DESTINATION, "")
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return Folder(Path(unquote(parts.path)))
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
        raise SettingError(
            f"{ENV_BACKUP_DESTINATION}: {text!r} is neither s3://bucket/prefix nor file:///folder: set one"
        )
    from shieldx_runtime.backup.s3 import S3, S3Settings  # noqa: PLC0415 - boto3's import takes as long as all the rest

    style = environ.get(ENV_BACKUP_S3_PATH_STYLE, "true").lower()
    if style not in _YES:
        raise SettingError(f"{ENV_BACKUP_S3_PATH_STYLE}: {style!r} is neither true nor false: set one")
    credentials = environ.get(ENV_BACKUP_S3_CREDENTIALS_DIR)
    pair: dict[str, Any] = {}
    if credentials:
        pair = {
            name: _secret(Path(credentials) / file, ENV_BACKUP_S3_CREDENTIALS_DIR)
            for name, file in (
                ("access_key_id", SECRET_S3_ACCESS_KEY_ID),
                ("secret_access_key", SECRET_S3_SECRET_ACCESS_KEY),
            )
        }
    return S3(
        S3Settings(
            bucket=parts.netloc,
            prefix=parts.path.strip("/"),
            endpoint=environ.get(ENV_BACKUP_S3_ENDPOINT) or None,
            region=environ.get(ENV_BACKUP_S3_REGION) or "us-east-1",
            path_style=_YES[style],
            ca_file=environ.get(ENV_BACKUP_S3_CA_FILE) or None,
            **pair,
        )
    )


def number(environ: Mapping[str, str], variable: str, default: float, high: float) -> float:
    """Raises: SettingError, it is no number from 1 to `high`."""
    text = environ.get(variable, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 1 <= value <= high:
        raise SettingError(f"{variable}: {text!r} is not a number from 1 to {high:g}: set one")
    return value


def _file(environ: Mapping[str, str], variable: str) -> Path:
    value = environ.get(variable)
    if not value:
        raise SettingError(f"{variable}: not set: name the file that holds the value")
    return Path(value)


_folder = _file


def _secret(file: Path, variable: str) -> str:
    try:
        return read_secret(file, variable)
    except SettingsError as error:
        raise SettingError(str(error)) from error
