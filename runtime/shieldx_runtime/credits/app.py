"""Puts the service together and runs it."""

import asyncio
import gc
import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from fastapi import FastAPI

from shieldx_runtime.core import log
from shieldx_runtime.core.auth import Authenticator
from shieldx_runtime.core.breaker import Breaker
from shieldx_runtime.core.cache import Cache
from shieldx_runtime.core.database import Database, target_of
from shieldx_runtime.core.edge import Admission, Edge
from shieldx_runtime.core.faults import DatabaseUnavailableError, Target
from shieldx_runtime.core.front import behind
from shieldx_runtime.core.health import Check, Health, build_app
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.migrations import Migration, schema_problem
from shieldx_runtime.core.quota_sharing import Sharing
from shieldx_runtime.core.server import listen, serve
from shieldx_runtime.core.settings import ServeSettings
from shieldx_runtime.credits.alert_parts import AlertParts
from shieldx_runtime.credits.balances import L1_TTL_S, BalanceCache, Floors, Local
from shieldx_runtime.credits.batcher import Batcher
from shieldx_runtime.credits.front import CreditsFront
from shieldx_runtime.credits.ledger_routes import BATCH_PATH
from shieldx_runtime.credits.model import Ready, Result
from shieldx_runtime.credits.reconcile import Reconciler
from shieldx_runtime.credits.repository import Repository, migrations
from shieldx_runtime.credits.routes import build_api
from shieldx_runtime.credits.sealing_app import AuditParts
from shieldx_runtime.credits.sealing_settings import AuditSettings
from shieldx_runtime.credits.service import PARTITION_DAYS_AHEAD, CreditsService
from shieldx_runtime.credits.warmup import Warmup

_MAINTENANCE_INTERVAL_S: Final = 3600.0
_MAINTENANCE_RETRY_S: Final = 5.0
_MAINTENANCE_FAULT_S: Final = 300.0
_SETTLE_INTERVAL_S: Final = 1.0
_SETTLE_BATCH: Final = 100
_GC_THRESHOLD: Final = 50_000
_MAX_BATCH_BYTES: Final = 1024 * 1024
_FLOOR_MARGIN_S: Final = 10.0
"""How much longer than a cached balance a floor lives: a reader elsewhere may store what it read a moment ago."""
_logger = log.get(__name__)


class _Process:
    """What one process of the service is made of."""

    def __init__(self, settings: ServeSettings, audit: AuditSettings) -> None:
        """Raises: SettingsError, the cache's URI is of no use."""
        self.settings = settings
        self.metrics = Metrics()
        self.breaker = Breaker("postgresql", threshold=5, open_s=1.0)
        self.metrics.watch(self.breaker)
        database = Database(settings.database, self.breaker)
        # a connection of its own: a pool full of requests must make the service neither unready nor untidy
        control = Database(replace(settings.database, pool_max_size=1), self.breaker, probes=True)
        # and one for consumes: calls that wait for a lock must not keep it
        consumes = Database(replace(settings.database, pool_max_size=1), self.breaker)
        self.audit = AuditParts(audit, settings.database, self.metrics.registry)
        self.database = database
        self.databases = (database, control, consumes, self.audit.database)
        self.alerts = AlertParts(
            requests=database,
            control=control,
            pepper=settings.pepper,
            allowed=settings.webhook_allowed_hosts,
            registry=self.metrics.registry,
        )
        self.repository, self.control = Repository(database, self.audit.texts), Repository(control)
        self.consumes = Repository(consumes, self.audit.texts)
        self.cache = Cache(settings.cache_uri_file, ttl_s=settings.cache_ttl_s, metrics=self.metrics)
        self.authenticator = Authenticator(
            pepper=settings.pepper,
            admin_key=settings.admin_key,
            lookup=self.repository.key,
            rate_limit=settings.rate_limit,
        )
        namespace = _namespace(target_of(settings.database.uri_file))
        self.balances = BalanceCache(
            self.cache,
            Local(min(L1_TTL_S, settings.cache_ttl_s)),
            Floors(settings.cache_ttl_s + _FLOOR_MARGIN_S),
            namespace,
            self.metrics,
        )
        add_up = partial(self.cache.add_up, f"shieldx:credits:{namespace}:quota:")
        self.sharing = Sharing(self.authenticator.quotas, add_up)
        self.admission = Admission()
        self.warmup = Warmup(self.control, self.balances)
        self.health = Health(_checks(self.control, self.cache, migrations(), self.warmup))

    def open(self) -> tuple[CreditsService, CreditsFront]:
        """To be called in the loop that will serve."""
        batcher = Batcher(
            self.consumes.ready,
            self._decide,
            self.balances.written,
            timeout_s=self.settings.database.request_timeout_s,
            max_lanes=max(1, self.settings.database.pool_max_size - 1),
        )
        service = CreditsService(
            repository=self.repository,
            batcher=batcher,
            balances=self.balances,
            authenticator=self.authenticator,
            metrics=self.metrics,
            pepper=self.settings.pepper,
            breakers=(self.breaker, self.cache.breaker),
        )
        front = CreditsFront(
            batcher=batcher,
            local=self.balances.local,
            authenticator=self.authenticator,
            admission=self.admission,
            metrics=self.metrics,
            draining=lambda: self.health.stopping,
        )
        return service, front

    async def _decide(self, wishes: Sequence[Ready], wait: bool) -> list[Result]:
        return await (self.repository if wait else self.consumes).consume(wishes, wait)

    def edge(self, api: FastAPI) -> Edge:
        self.audit.attach(api)
        self.alerts.attach(api)
        api.state.reconciler = Reconciler(self.database, self.balances)
        return Edge(
            api,
            routes=api.routes,
            authenticator=self.authenticator,
            metrics=self.metrics,
            request_timeout_s=self.settings.database.request_timeout_s,
            draining=lambda: self.health.stopping,
            admission=self.admission,
            large_bodies={BATCH_PATH: _MAX_BATCH_BYTES},
        )

    async def close(self) -> None:
        await self.cache.close()
        for database in self.databases:
            await database.close()


async def run(settings: ServeSettings, audit: AuditSettings) -> None:
    """Serves until SIGTERM.

    Raises:
        ListenError: a port is taken.
        SettingsError: the cache's URI is of no use.
    """
    # What a request makes dies with its answer, without the collector. Left as it is, it would look through all that
    # is cached whenever some hundred requests are in flight.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    process = _Process(settings, audit)
    service, front = process.open()
    with (
        listen(settings.http_host, settings.http_port) as api_socket,
        listen(settings.http_host, settings.health_port) as health_socket,
    ):
        for database in process.databases:
            await database.open()
        background = [
            *process.audit.start(),
            *process.alerts.start(),
            asyncio.create_task(process.warmup.run(), name="warm-up"),
            asyncio.create_task(_maintain(process.control), name="maintenance"),
            asyncio.create_task(_settle(service), name="settling"),
            asyncio.create_task(_tell_again(process.balances), name="late news"),
            asyncio.create_task(process.balances.listen(), name="news of other processes"),
            asyncio.create_task(process.sharing.run(), name="rate limits"),
        ]
        try:
            await serve(
                process.edge(build_api(service)),
                build_app(process.health, process.metrics),
                process.health,
                api_socket=api_socket,
                health_socket=health_socket,
                drain_delay_s=settings.drain_delay_s,
                request_timeout_s=settings.database.request_timeout_s,
                api_protocol=behind(front),
            )
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await process.close()


def _checks(repository: Repository, cache: Cache, shipped: Sequence[Migration], warmup: Warmup) -> dict[str, Check]:
    async def database() -> str:
        try:
            await repository.ping()
        except DatabaseUnavailableError as error:
            return str(error)
        return ""

    async def schema() -> str:
        try:
            problem = schema_problem(shipped, await repository.applied_migrations())
            if not problem and not await repository.partition_of_today_present():
                problem = "today's partition of credits.idempotency is missing: maintenance has not run"
            problem = problem or warmup.pending
        except DatabaseUnavailableError as error:
            return str(error)
        return problem

    return {
        "database": Check(database),
        "schema": Check(schema),
        "cache": Check(cache.check, required=False),
    }


async def _maintain(repository: Repository) -> None:
    """Makes partitions ahead and drops old ones, at the start and every hour."""
    while True:
        pause_s = _MAINTENANCE_INTERVAL_S
        try:
            created, dropped = await repository.maintain_idempotency(PARTITION_DAYS_AHEAD)
            if created or dropped:
                _logger.info("idempotency partitions kept", created=created, dropped=dropped)
        except DatabaseUnavailableError:
            # the pool's keeper says what is wrong with the database
            pause_s = _MAINTENANCE_RETRY_S
        except Exception:
            # it must never end: without partitions the service would stop in a week
            _logger.exception("maintenance failed", next_try_s=_MAINTENANCE_FAULT_S)
            pause_s = _MAINTENANCE_FAULT_S
        # jitter, so that replicas do not come in step
        await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret


async def _settle(service: CreditsService) -> None:
    """Carries out what has expired, so that it is so for readers, too, of whom nobody spends."""
    while True:
        pause_s = _SETTLE_INTERVAL_S
        try:
            if await service.settle_due(_SETTLE_BATCH) == _SETTLE_BATCH:
                pause_s = 0.0
        except DatabaseUnavailableError:
            pause_s = _MAINTENANCE_RETRY_S
        except Exception:
            _logger.exception("settling failed", next_try_s=_MAINTENANCE_RETRY_S)
            pause_s = _MAINTENANCE_RETRY_S
        await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret


async def _tell_again(balances: BalanceCache) -> None:
    while True:
        await asyncio.sleep(_SETTLE_INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        await balances.tell_again()


def _namespace(target: Target | None) -> str:
    """Names the ledger in the cache: the same in all replicas, another for another database."""
    place = f"{target.host}:{target.port}/{target.database}" if target else ""
    return hashlib.sha256(place.encode()).hexdigest()[:16]
