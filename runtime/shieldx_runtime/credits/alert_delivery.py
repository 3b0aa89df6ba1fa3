"""Delivers alerts out of the outbox: at least once, by whichever replica comes first.

A host name is looked up here and only public addresses are connected to, so that a name that points inside of a
network, now or only for a moment, reaches nothing there. Redirects are not followed and bodies are not read.
"""

import asyncio
import random
import socket
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from prometheus_client import CollectorRegistry, Counter

from shieldx_runtime.core import log
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.credits.alerts import (
    Alert,
    AlertBook,
    BadWebhookError,
    check_url,
    is_public,
    pause_s,
    secret_of,
    signed,
)

_INTERVAL_S: Final = 1.0
_FAULT_S: Final = 60.0
_TIMEOUT_S: Final = 5.0
_LEASE_S: Final = 30.0
"""Longer than an attempt may take, and so short that a crash delays an alert by little."""
_AT_A_TIME: Final = 20
_FORGET_INTERVAL_S: Final = 3600.0
_KEPT_DAYS: Final = 30
_FORGOTTEN_AT_A_TIME: Final = 10_000
_logger = log.get(__name__)


class _Guard(AbstractResolver):
    """Finds public addresses only, unless the host was allowed expressly."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host.lower() not in self._allowed:
            found = [address for address in found if is_public(address["host"])]
        if not found:
            raise OSError(f"{host} has no public address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class AlertSender:
    """`pepper` makes the secrets; `allowed` are the hosts that may be inside of a network."""

    def __init__(
        self, book: AlertBook, *, pepper: bytes, allowed: Collection[str], registry: CollectorRegistry
    ) -> None:
        self._book = book
        self._pepper = pepper
        self._allowed = allowed
        self._forgot_at = 0.0
        self._deliveries = Counter(
            "credits_alert_deliveries", "Attempts to deliver a low-balance alert", ["result"], registry=registry
        )
        for result in ("delivered", "retried", "given_up"):
            self._deliveries.labels(result)

    async def run(self) -> None:
        """Goes on until it is cancelled, whatever happens."""
        connector = aiohttp.TCPConnector(
            resolver=_Guard(self._allowed), limit=_AT_A_TIME, force_close=True, use_dns_cache=False
        )
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as client:
            while True:
                wait_s = _INTERVAL_S
                try:
                    if await self.deliver_due(client) == _AT_A_TIME:
                        wait_s = 0.0
                    await self._forget()
                except DatabaseUnavailableError:
                    # the pool's keeper says what is wrong with the database
                    wait_s = _INTERVAL_S * 5
                except Exception:
                    # it must never end: nobody would hear of an empty account
                    _logger.exception("delivering alerts failed", next_try_s=_FAULT_S)
                    wait_s = _FAULT_S
                # jitter, so that replicas do not look in step
                await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def deliver_due(self, client: aiohttp.ClientSession) -> int:
        """Tries what is due once, at most 20; how many those were. Raises: DatabaseUnavailableError."""
        alerts = await self._book.claim(_AT_A_TIME, _LEASE_S)
        outcomes = await asyncio.gather(*[self._deliver(client, alert) for alert in alerts], return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(alerts)

    async def _deliver(self, client: aiohttp.ClientSession, alert: Alert) -> None:
        problem = await self._post(client, alert)
        if not problem:
            await self._book.delivered(alert.alert_id)
            self._deliveries.labels("delivered").inc()
            return
        again_in_s = pause_s(alert.attempts)
        await self._book.failed(alert.alert_id, problem, again_in_s)
        self._deliveries.labels("given_up" if again_in_s is None else "retried").inc()
        _logger.warning(
            "an alert could not be delivered",
            tenant_id=alert.tenant_id,
            alert_id=str(alert.alert_id),
            problem=problem,
            attempts=alert.attempts,
            next_try_s=again_in_s,
        )

    async def _post(self, client: aiohttp.ClientSession, alert: Alert) -> str:
        """What was wrong, or nothing."""
        body = alert.body()
        secret = secret_of(self._pepper, alert.tenant_id, alert.secret_version)
        fields = signed(secret, alert.alert_id, body, datetime.now(UTC))
        try:
            check_url(alert.webhook_url, self._allowed)
            async with client.post(
                alert.webhook_url,
                data=body,
                headers={"content-type": "application/json", "user-agent": "shieldx-credits", **fields},
                allow_redirects=False,
            ) as answer:
                return "" if 200 <= answer.status < 300 else f"the webhook answered {answer.status}"  # noqa: PLR2004
        except TimeoutError:
            return f"the webhook did not answer within {_TIMEOUT_S:g} s"
        except BadWebhookError as error:
            return f"the webhook's URL may not be used: {error}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"the webhook was not reached: {error}"

    async def _forget(self) -> None:
        now = time.monotonic()
        if now - self._forgot_at >= _FORGET_INTERVAL_S:
            self._forgot_at = now
            await self._book.forget(_KEPT_DAYS, _FORGOTTEN_AT_A_TIME)
