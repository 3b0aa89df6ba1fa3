"""Settings out of the environment; secrets out of the files that the environment names."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from shieldx_contract import (
    API_KEY_PATTERN,
    DEFAULT_RATE_LIMIT,
    ENV_ADMIN_KEY_FILE,
    ENV_CACHE_TTL_S,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_DRAIN_DELAY_S,
    ENV_HEALTH_PORT,
    ENV_HTTP_HOST,
    ENV_HTTP_PORT,
    ENV_KEY_PEPPER_FILE,
    ENV_LOG_LEVEL,
    ENV_POOL_MAX_SIZE,
    ENV_RATE_LIMIT,
    ENV_REQUEST_TIMEOUT_S,
    ENV_WEBHOOK_ALLOWED_HOSTS,
    HEALTH_PORT,
    HTTP_PORT,
    MAX_RATE_LIMIT,
)

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_SPINDLES: Final = 1
_PEPPER_MIN_BYTES: Final = 16
_CGROUP_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")

T = TypeVar("T")
Environment = Mapping[str, str]


class SettingsError(Exception):
    """A setting is missing or wrong; the message names the variable, the problem and the remedy."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    uri_file: Path
    pool_max_size: int
    request_timeout_s: float


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `serve` needs. `cache_ttl_s` 0 switches the cache off; `rate_limit` is in requests in `quota.WINDOW_S`."""

    database: DatabaseSettings
    cache_uri_file: Path
    cache_ttl_s: int
    http_host: str
    http_port: int
    health_port: int
    drain_delay_s: float
    rate_limit: int
    webhook_allowed_hosts: frozenset[str]
    admin_key: str = field(repr=False)
    pepper: bytes = field(repr=False)


def load_log(environ: Environment) -> LogSettings:
    level = environ.get(ENV_LOG_LEVEL, "info").lower()
    if level not in LOG_LEVELS:
        raise SettingsError(f"{ENV_LOG_LEVEL}: {level!r} is not a level: set one of {', '.join(LOG_LEVELS)}")
    return LogSettings(level=level)


def load_database(environ: Environment) -> DatabaseSettings:
    """What reaches the database.

    Raises:
        SettingsError: a variable is missing or wrong, or the file cannot be read.
    """
    uri_file = _file(environ, ENV_DATABASE_URI_FILE)
    read_secret(uri_file, ENV_DATABASE_URI_FILE)
    return DatabaseSettings(
        uri_file=uri_file,
        pool_max_size=_number(environ, ENV_POOL_MAX_SIZE, int, default=default_pool_size(), low=1, high=1000),
        request_timeout_s=_number(environ, ENV_REQUEST_TIMEOUT_S, float, default=2.0, low=0.1, high=300),
    )


def load_serve(environ: Environment) -> ServeSettings:
    """What the service needs.

    Raises:
        SettingsError: a variable is missing or wrong, or a file cannot be read.
    """
    cache_uri_file = _file(environ, ENV_CACHE_URI_FILE)
    read_secret(cache_uri_file, ENV_CACHE_URI_FILE)
    admin_key = read_secret(_file(environ, ENV_ADMIN_KEY_FILE), ENV_ADMIN_KEY_FILE)
    if not re.fullmatch(API_KEY_PATTERN, admin_key):
        raise SettingsError(
            f"{ENV_ADMIN_KEY_FILE}: the file's content is no API key: it must be "
            "sxk_<16 hexadecimal digits>_<43 characters of base64url>"
        )
    pepper = read_secret(_file(environ, ENV_KEY_PEPPER_FILE), ENV_KEY_PEPPER_FILE).encode()
    if len(pepper) < _PEPPER_MIN_BYTES:
        raise SettingsError(
            f"{ENV_KEY_PEPPER_FILE}: the file holds {len(pepper)} bytes: "
            f"write at least {_PEPPER_MIN_BYTES} random bytes as text"
        )
    return ServeSettings(
        database=load_database(environ),
        cache_uri_file=cache_uri_file,
        cache_ttl_s=_number(environ, ENV_CACHE_TTL_S, int, default=60, low=0, high=3600),
        http_host=environ.get(ENV_HTTP_HOST, "127.0.0.1"),
        http_port=_number(environ, ENV_HTTP_PORT, int, default=HTTP_PORT, low=1, high=65535),
        health_port=_number(environ, ENV_HEALTH_PORT, int, default=HEALTH_PORT, low=1, high=65535),
        drain_delay_s=_number(environ, ENV_DRAIN_DELAY_S, float, default=5.0, low=0, high=300),
        rate_limit=_number(environ, ENV_RATE_LIMIT, int, default=DEFAULT_RATE_LIMIT, low=1, high=MAX_RATE_LIMIT),
        webhook_allowed_hosts=_names(environ, ENV_WEBHOOK_ALLOWED_HOSTS),
        admin_key=admin_key,
        pepper=pepper,
    )


def read_secret(path: Path, variable: str) -> str:
    """The file's text without the line break at its end.

    Raises:
        SettingsError: the file cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}: mount the Secret there") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{variable}: {path} is not UTF-8 text: write it again as text") from error
    if not text:
        raise SettingsError(f"{variable}: {path} is empty: write the value into it")
    return text


def default_pool_size() -> int:
    """Connections that keep the database busy without queueing in it: cores * 2 + spindles.

    Cores are those that this process may use: a container's CPU limit counts, not the size of its node.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _cgroup_cores(cores) * 2 + _SPINDLES


def _cgroup_cores(cores: int) -> int:
    try:
        quota, period = _CGROUP_CPU_MAX.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, max(1, round(int(quota) / int(period))))


def _names(environ: Environment, variable: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in environ.get(variable, "").split(",") if name.strip())


def _file(environ: Environment, variable: str) -> Path:
    value = environ.get(variable, "")
    if not value:
        raise SettingsError(f"{variable}: not set: name the file that holds the value")
    return Path(value)


def _number(environ: Environment, variable: str, kind: Callable[[str], T], *, default: T, low: float, high: float) -> T:
    text = environ.get(variable, "")
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:  # type: ignore[operator]
        raise SettingsError(f"{variable}: {text!r} is not a number from {low} to {high}: set one")
    return value
