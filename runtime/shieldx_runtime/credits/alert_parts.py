"""Puts alerts together for one process of the service."""

import asyncio
from collections.abc import Collection

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from shieldx_runtime.core.database import Database
from shieldx_runtime.credits.alert_delivery import AlertSender
from shieldx_runtime.credits.alerts import AlertBook


class AlertParts:
    """What `serve` adds: state for the routes and a task for the background.

    `requests` serves the routes, `control` the deliveries; both are opened and closed by the caller.
    """

    def __init__(
        self,
        *,
        requests: Database,
        control: Database,
        pepper: bytes,
        allowed: Collection[str],
        registry: CollectorRegistry,
    ) -> None:
        self.book = AlertBook(requests)
        self.pepper = pepper
        self.allowed = allowed
        self._sender = AlertSender(AlertBook(control), pepper=pepper, allowed=allowed, registry=registry)

    def attach(self, api: FastAPI) -> None:
        api.state.alerts = self

    def start(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._sender.run(), name="alerts")]
