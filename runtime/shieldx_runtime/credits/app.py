"""Puts the service together and runs it."""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from shieldx_runtime.core import log
from shieldx_runtime.core.auth import Authenticator
from shieldx_runtime.core.cache import Cache
from shieldx_runtime.core.database import Database, target_of
from shieldx_runtime.core.edge import Edge
from shieldx_runtime.core.faults import DatabaseUnavailableError, Target
from shieldx_runtime.core.health import Check, Health, build_app
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.migrations import Migration, schema_problem
from shieldx_runtime.core.server import listen, serve
from shieldx_runtime.core.settings import ServeSettings
from shieldx_runtime.credits.balances import BalanceCache, Floors
from shieldx_runtime.credits.repository import Repository, migrations
from shieldx_runtime.credits.routes import build_api
from shieldx_runtime.credits.service import PARTITION_DAYS_AHEAD, CreditsService

_MAINTENANCE_INTERVAL_S: Final = 3600.0
_MAINTENANCE_RETRY_S: Final = 5.0
_MAINTENANCE_FAULT_S: Final = 300.0
_FLOOR_MARGIN_S: Final = 10.0
"""How much longer than a cached balance a floor lives: a reader elsewhere may store what it read a moment ago."""
_logger = log.get(__name__)


async def run(settings: ServeSettings) -> None:
    """Serves until SIGTERM.

    Raises:
        ListenError: a port is taken.
        SettingsError: the cache's URI is of no use.
    """
    metrics = Metrics()
    database = Database(settings.database)
    # a connection of its own: a pool full of requests must make the service neither unready nor untidy
    control_database = Database(replace(settings.database, pool_max_size=1))
    repository, control = Repository(database), Repository(control_database)
    cache = Cache(settings.cache_uri_file, ttl_s=settings.cache_ttl_s, metrics=metrics)
    authenticator = Authenticator(pepper=settings.pepper, admin_key=settings.admin_key, lookup=repository.key)
    balances = BalanceCache(
        cache, Floors(settings.cache_ttl_s + _FLOOR_MARGIN_S), _namespace(target_of(settings.database.uri_file))
    )
    api = build_api(
        CreditsService(
            repository=repository,
            balances=balances,
            authenticator=authenticator,
            metrics=metrics,
            pepper=settings.pepper,
        )
    )
    health = Health(_checks(control, cache, migrations()))
    edge = Edge(
        api,
        routes=api.routes,
        authenticator=authenticator,
        metrics=metrics,
        request_timeout_s=settings.database.request_timeout_s,
        draining=lambda: health.stopping,
    )
    with (
        listen(settings.http_host, settings.http_port) as api_socket,
        listen(settings.http_host, settings.health_port) as health_socket,
    ):
        await database.open()
        await control_database.open()
        maintenance = asyncio.create_task(_maintain(control), name="maintenance")
        try:
            await serve(
                edge,
                build_app(health, metrics),
                health,
                api_socket=api_socket,
                health_socket=health_socket,
                drain_delay_s=settings.drain_delay_s,
                request_timeout_s=settings.database.request_timeout_s,
            )
        finally:
            maintenance.cancel()
            await asyncio.gather(maintenance, return_exceptions=True)
            await cache.close()
            await database.close()
            await control_database.close()


def _checks(repository: Repository, cache: Cache, shipped: Sequence[Migration]) -> dict[str, Check]:
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


def _namespace(target: Target | None) -> str:
    """Names the ledger in the cache: the same in all replicas, another for another database."""
    place = f"{target.host}:{target.port}/{target.database}" if target else ""
    return hashlib.sha256(place.encode()).hexdigest()[:16]
