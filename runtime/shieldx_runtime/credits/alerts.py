"""Low-balance alerts: their rules, where they may be sent, and how they are signed. No I/O but the repository's.

A crossing is found by the transaction that crosses (a trigger on the account) and stands in the outbox with it.
Deliveries have the form of Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and
`webhook-signature`, which is `v1,` and the base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>").
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import random
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Final
from urllib.parse import urlsplit

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Database

MAX_THRESHOLDS: Final = 10
MAX_URL: Final = 2048
MAX_ATTEMPTS: Final = 16
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 3600.0
_MAX_PROBLEM: Final = 200
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "alerts.sql")


class BadWebhookError(Exception):
    """A URL to which nothing may be sent; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One crossing that is to be told. `attempts` counts this one."""

    alert_id: uuid.UUID
    tenant_id: str
    threshold: int
    available: int
    balance: int
    version: int
    crossed_at: datetime
    attempts: int
    webhook_url: str
    secret_version: int

    def body(self) -> bytes:
        moment = self.crossed_at.astimezone(UTC)
        return json.dumps(
            {
                "type": "credits.balance_low",
                "timestamp": moment.isoformat().replace("+00:00", "Z"),
                "data": {
                    "alert_id": str(self.alert_id),
                    "tenant_id": self.tenant_id,
                    "threshold": self.threshold,
                    "available": self.available,
                    "balance": self.balance,
                    "version": self.version,
                },
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a tenant has set; `thresholds` empty: nothing. `last_problem` is of the last alert."""

    tenant_id: str
    thresholds: tuple[int, ...]
    webhook_url: str | None
    secret_version: int
    pending: int
    last_crossed_at: datetime | None
    last_delivered_at: datetime | None
    last_problem: str | None


def check_url(url: str, allowed: Collection[str]) -> str:
    """The host of a URL to which alerts may be sent: https, or a host that was allowed expressly.

    Raises:
        BadWebhookError: the URL is none, or may not be used.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise BadWebhookError("it is no URL: send https://host/path") from error
    if (
        not host
        or parts.scheme not in ("http", "https")
        or port == 0
        or parts.username is not None
        or parts.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or "\\" in url
    ):
        raise BadWebhookError("it is no plain URL of a host: send https://host/path, without user, fragment or spaces")
    if host in allowed:
        return host
    if parts.scheme != "https":
        raise BadWebhookError("it is not encrypted: send an https:// URL, or have its host allowed")
    if _is_address(host) and not is_public(host):
        raise BadWebhookError("it names an address inside of a network: send a public one, or have it allowed")
    return host


def is_public(address: str) -> bool:
    """Whether an address is one of the internet: neither private, local, link-local, multicast nor reserved."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            found = inner
        elif found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        elif found not in _GLOBAL_UNICAST:
            # what is left of version 6 is somebody's own: site-local, translated, compatible with version 4
            return False
    return found.is_global and not found.is_multicast


_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # what a resolver would still take for an address: 127.1, 0x7f000001, 2130706433
        last = host.rstrip(".").rpartition(".")[2]
        return last.isdigit() or last.startswith("0x")
    return True


def secret_of(pepper: bytes, tenant_id: str, version: int) -> str:
    """The secret of a tenant's webhook: made out of the pepper, so that no database has it."""
    digest = hmac.digest(pepper, f"webhook|{version}|{tenant_id}".encode(), hashlib.sha256)
    return "whsec_" + base64.b64encode(digest).decode()


def signed(secret: str, alert_id: uuid.UUID, body: bytes, at: datetime) -> dict[str, str]:
    """The header fields of a delivery."""
    moment = str(int(at.timestamp()))
    said = f"{alert_id}.{moment}.".encode() + body
    digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), said, hashlib.sha256)
    return {
        "webhook-id": str(alert_id),
        "webhook-timestamp": moment,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def pause_s(attempts: int) -> float | None:
    """Full jitter: how long to wait after so many attempts; None: it is given up, after some 9 hours."""
    if attempts >= MAX_ATTEMPTS:
        return None
    return random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempts - 1)))  # noqa: S311 - no secret


class AlertBook:
    """Rules and outbox. Every function is one autocommitted statement and raises DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_rule(self, tenant_id: str, thresholds: list[int], webhook_url: str | None, version: int) -> bool:
        """False where there is no such tenant. No thresholds: the rule is removed."""
        row = await self._database.fetch_row(_SQL["set_rule"], tenant_id, thresholds or None, webhook_url, version)
        return bool(row["known"])

    async def rule(self, tenant_id: str) -> Rule | None:
        row = await self._database.fetch_one(_SQL["rule"], tenant_id)
        if row is None:
            return None
        return Rule(
            tenant_id=tenant_id,
            thresholds=tuple(row["thresholds"] or ()),
            webhook_url=row["webhook_url"],
            secret_version=row["secret_version"] or 1,
            pending=row["pending"],
            last_crossed_at=row["crossed_at"],
            last_delivered_at=row["delivered_at"],
            last_problem=row["problem"],
        )

    async def claim(self, limit: int, lease_s: float) -> list[Alert]:
        """Alerts that are due; nobody else gets them within `lease_s`."""
        return [Alert(**row) for row in await self._database.fetch(_SQL["claim"], limit, lease_s)]

    async def delivered(self, alert_id: uuid.UUID) -> None:
        await self._database.fetch(_SQL["delivered"], alert_id)

    async def failed(self, alert_id: uuid.UUID, problem: str, again_in_s: float | None) -> None:
        """`again_in_s` None: it is given up."""
        await self._database.fetch(_SQL["failed"], alert_id, again_in_s, problem[:_MAX_PROBLEM])

    async def forget(self, older_than_days: int, limit: int) -> None:
        """Drops what ended so long ago."""
        await self._database.fetch(_SQL["forget"], older_than_days, limit)
