"""Puts audit and privacy together for one process of the service."""

import asyncio
import random
from dataclasses import replace
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from shieldx_runtime.core import log
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.settings import DatabaseSettings
from shieldx_runtime.credits.privacy import Privacy
from shieldx_runtime.credits.privacy_access import AccessLog
from shieldx_runtime.credits.privacy_texts import Texts
from shieldx_runtime.credits.proofs import Proofs
from shieldx_runtime.credits.sealing import Sealer, SealingMetrics
from shieldx_runtime.credits.sealing_settings import AuditSettings

_CONNECTIONS: Final = 2
_REWRAP_INTERVAL_S: Final = 60.0
_logger = log.get(__name__)


class AuditParts:
    """What `serve` adds: `texts` for the repository, state for the routes, tasks for the background.

    `database` is to be opened and closed with the others.
    """

    def __init__(self, settings: AuditSettings, database: DatabaseSettings, registry: CollectorRegistry) -> None:
        self._settings = settings
        # connections of its own: a pool full of movements must neither keep it from sealing nor auditors from asking
        self.database = Database(replace(database, pool_max_size=_CONNECTIONS))
        self._metrics = SealingMetrics(registry)
        self.texts = Texts(self.database, settings.masters, registry)

    def attach(self, api: FastAPI) -> None:
        """Gives the routes what they call."""
        api.state.proofs = Proofs(self.database, seal_interval_s=self._settings.seal_interval_s)
        api.state.privacy = Privacy(self.database, self.texts)
        api.state.accesses = AccessLog(self.database)

    def start(self) -> list[asyncio.Task[None]]:
        """The background's tasks, which end by being cancelled. Says in the log what cannot be done without keys."""
        self._settings.warn()
        tasks = [asyncio.create_task(self._rewrap(), name="data keys")]
        if self._settings.signing_key:
            interval_s = self._settings.seal_interval_s
            sealer = Sealer(self.database, self._settings.signing_key, self._metrics, interval_s=interval_s)
            tasks.append(asyncio.create_task(sealer.run(), name="sealer"))
        return tasks

    async def _rewrap(self) -> None:
        """After a rotation of the master key, brings what the old one has wrapped under the new one."""
        while True:
            try:
                while await self.texts.rewrap():
                    pass
            except DatabaseUnavailableError:
                # the pool's keeper says what is wrong with the database
                pass
            except Exception:
                # it must never end: a master key that was retired would be needed for ever
                _logger.exception("data keys were not brought under the active master key")
            await asyncio.sleep(_REWRAP_INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
