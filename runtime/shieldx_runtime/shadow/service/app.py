"""Puts the service together and runs it."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from shieldx_contract import ENV_SHADOW_BILLING_KEY_FILE
from shieldx_runtime.core import log
from shieldx_runtime.core.auth import Authenticator, Lookup
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.edge import Admission, Edge
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.health import Check, Health, build_app
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.migrations import Migration, schema_problem
from shieldx_runtime.core.migrations import run as migrate
from shieldx_runtime.core.server import listen, serve
from shieldx_runtime.core.settings import ServeSettings
from shieldx_runtime.shadow.service.billing import Billing
from shieldx_runtime.shadow.service.charges import Charges
from shieldx_runtime.shadow.service.ledger import Ledger
from shieldx_runtime.shadow.service.pool import Pool
from shieldx_runtime.shadow.service.routes import SAMPLES_PATH, build_api
from shieldx_runtime.shadow.service.service import LOST_AFTER_S, ShadowService
from shieldx_runtime.shadow.service.store import SCHEMA, Store, migrations
from shieldx_runtime.shadow.service.telling import Told
from shieldx_runtime.shadow.service.terms import Terms
from shieldx_runtime.shadow.service.traffic import MAX_INGEST_BYTES

MAX_IN_FLIGHT: Final = 256
STATEMENT_TIMEOUT_S: Final = 15.0
"""Of one statement: a request may last longer than the database may take to answer."""
RETENTION_S: Final = 30 * 86_400.0
_TIDY_INTERVAL_S: Final = 600.0
_TIDY_ROWS: Final = 10_000
_logger = log.get(__name__)

KeysOf = Callable[[Database], Lookup]
"""How issued keys are looked up: the slice of credits has them."""


async def run(settings: ServeSettings, keys_of: KeysOf, terms: Terms | None) -> None:
    """Brings its schema up to date and serves until SIGTERM. `terms` None: evaluations cost nothing.

    Raises:
        ListenError: a port is taken.
        MigrationError: the database is away, or will not have the schema.
    """
    await migrate(settings.database.uri_file, SCHEMA, migrations())
    metrics = Metrics()
    timeout_s = settings.database.request_timeout_s
    stores = replace(settings.database, request_timeout_s=min(timeout_s, STATEMENT_TIMEOUT_S))
    database, control = Database(stores), Database(replace(stores, pool_max_size=1))
    authenticator = Authenticator(
        pepper=settings.pepper,
        admin_key=settings.admin_key,
        lookup=keys_of(database),
        rate_limit=settings.rate_limit,
    )
    health = Health(_checks(Store(control), migrations()))
    told = Told(metrics.registry)
    service = ShadowService(Store(database), Pool(), told, _billing(terms, Charges(database), told))
    api = build_api(service, request_timeout_s=timeout_s)
    edge = Edge(
        api,
        routes=api.routes,
        authenticator=authenticator,
        metrics=metrics,
        request_timeout_s=timeout_s,
        draining=lambda: health.stopping,
        admission=Admission(MAX_IN_FLIGHT),
        large_bodies={SAMPLES_PATH: MAX_INGEST_BYTES},
    )
    with (
        listen(settings.http_host, settings.http_port) as api_socket,
        listen(settings.http_host, settings.health_port) as health_socket,
    ):
        await database.open()
        await control.open()
        service.begin()
        tidying = asyncio.create_task(_tidy(Store(control)), name="retention")
        try:
            await serve(
                edge,
                build_app(health, metrics),
                health,
                api_socket=api_socket,
                health_socket=health_socket,
                drain_delay_s=settings.drain_delay_s,
                request_timeout_s=timeout_s,
            )
        finally:
            tidying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tidying
            await service.end()
            await database.close()
            await control.close()


def _billing(terms: Terms | None, charges: Charges, told: Told) -> Billing | None:
    if terms is None:
        return None
    ledger = Ledger(terms.url, terms.key_file, ENV_SHADOW_BILLING_KEY_FILE)
    return Billing(terms, charges, ledger, told.charge, lost_after_s=LOST_AFTER_S)


def _checks(store: Store, shipped: Sequence[Migration]) -> dict[str, Check]:
    async def database() -> str:
        try:
            await store.ping()
        except DatabaseUnavailableError as error:
            return str(error)
        return ""

    async def schema() -> str:
        try:
            return schema_problem(shipped, await store.applied_migrations())
        except DatabaseUnavailableError as error:
            return str(error)

    return {"database": Check(database), "schema": Check(schema)}


async def _tidy(store: Store) -> None:
    """Forgets traffic and answers that are older than `RETENTION_S`."""
    while True:
        pause_s = _TIDY_INTERVAL_S
        try:
            if await store.forget(RETENTION_S, RETENTION_S, _TIDY_ROWS) >= _TIDY_ROWS:
                pause_s = 1.0
        except DatabaseUnavailableError:
            pause_s = 60.0  # the pool's keeper says what is wrong with the database
        except Exception:
            # it must never end: the disk would fill
            _logger.exception("retention failed", next_try_s=pause_s)
        await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
