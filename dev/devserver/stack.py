"""A database, a cache and one credits service on them, as processes on loopback."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dev.devserver.postgres import Postgres
from dev.devserver.process import StartError
from dev.devserver.redis import Redis
from dev.devserver.service import CreditsProcess


@dataclass(frozen=True)
class Processes:
    postgres: Postgres
    redis: Redis
    service: CreditsProcess


def start(  # noqa: PLR0913 - where they live and what the service is told
    exits: ExitStack,
    folder: Path,
    *,
    admin_key: str,
    http_port: int,
    health_port: int,
    durable: bool = True,
    settings: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Processes:
    """All three, the schema migrated, the service ready; `exits` stops them. `durable`: PostgreSQL with fsync.

    `settings` are the service's environment, `parameters` the database server's.

    Raises:
        StartError: one of them did not start, or the migration failed.
    """
    postgres, redis = (
        Postgres(folder / "postgres", durable=durable, parameters=parameters),
        Redis(folder / "redis"),
    )
    exits.callback(redis.stop)
    redis.start()
    exits.callback(postgres.stop)
    postgres.start()
    postgres.create_database("credits")
    service = CreditsProcess(
        folder / "credits",
        database_uri=postgres.service_uri("credits"),
        owner_uri=postgres.uri("credits"),
        cache_uri=redis.uri,
        admin_key=admin_key,
        http_port=http_port,
        health_port=health_port,
        settings=settings,
    )
    migration = service.migrate()
    if migration.returncode != 0:
        raise StartError(f"the migration failed: {migration.stderr.strip()}")
    exits.callback(service.stop)
    service.start()
    return Processes(postgres, redis, service)
