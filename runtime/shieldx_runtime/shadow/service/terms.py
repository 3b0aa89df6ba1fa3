"""What evaluations cost, and how they are paid: settings of the shadow service."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shieldx_contract import (
    ENV_SHADOW_BILLING_HOLD_S,
    ENV_SHADOW_BILLING_KEY_FILE,
    ENV_SHADOW_BILLING_PRICE,
    ENV_SHADOW_BILLING_URL,
    SHADOW_BILLING_HOLD_S,
    SHADOW_BILLING_MAX_HOLD_S,
    SHADOW_BILLING_MAX_PRICE,
    SHADOW_BILLING_MIN_HOLD_S,
)
from shieldx_runtime.core.settings import SettingsError, read_secret

_SCHEMES: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class Terms:
    """`credits_per_1000`: the price of so many samples. A hold ends by itself after `hold_s`."""

    url: str
    key_file: Path
    credits_per_1000: int
    hold_s: int


def load(environ: Mapping[str, str]) -> Terms | None:
    """None where evaluations cost nothing: no URL of a credits API is set.

    Raises:
        SettingsError: a variable is missing or wrong, or the key cannot be read.
    """
    url = environ.get(ENV_SHADOW_BILLING_URL, "")
    if not url:
        return None
    _require_url(url)
    key_file = Path(environ.get(ENV_SHADOW_BILLING_KEY_FILE, ""))
    read_secret(key_file, ENV_SHADOW_BILLING_KEY_FILE)
    return Terms(
        url=url,
        key_file=key_file,
        credits_per_1000=_whole(environ, ENV_SHADOW_BILLING_PRICE, None, 1, SHADOW_BILLING_MAX_PRICE),
        hold_s=_whole(
            environ,
            ENV_SHADOW_BILLING_HOLD_S,
            SHADOW_BILLING_HOLD_S,
            SHADOW_BILLING_MIN_HOLD_S,
            SHADOW_BILLING_MAX_HOLD_S,
        ),
    )


def _require_url(url: str) -> None:
    """Raises: SettingsError."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or half an IPv6 address
        known = False
    if "@" in url:  # not repeated: it may be a password
        raise SettingsError(
            f"{ENV_SHADOW_BILLING_URL} has a user or a password in it: the key of {ENV_SHADOW_BILLING_KEY_FILE} is "
            "what the credits API takes; set a URL such as http://credits:8080"
        )
    if not known:
        raise SettingsError(f"{ENV_SHADOW_BILLING_URL}: {url!r} is no URL: set one such as http://credits:8080")


def _whole(environ: Mapping[str, str], variable: str, default: int | None, low: int, high: int) -> int:
    text = environ.get(variable, "")
    if not text and default is not None:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise SettingsError(f"{variable}: {text!r} is not a whole number from {low} to {high}: set one")
    return int(text)
