"""What is measured: PostgreSQL with fsync, Redis, one process of the service, one of the naive route; one key each."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dev.devserver.binaries import postgres_bin
from dev.devserver.ports import LOOPBACK, free_port, listens
from dev.devserver.process import Child
from dev.devserver.service import CreditsProcess, new_admin_key
from dev.devserver.stack import start

HERE: Final = Path(__file__).resolve().parent
TENANTS: Final = 10_000
ZIPF_TENANTS: Final = 100_000
_CREDITS: Final = 10**12
_TOUCHED_AT_ONCE: Final = 200
_PARAMETERS: Final = {"shared_buffers": "2GB", "min_wal_size": "1GB"}
"""What a database with 8 GiB has, for all peers: 10 M rows have indexes of 1.5 GB."""
_SEGMENTS: Final = 60


class BenchError(Exception):
    """It could not be measured; the message says why."""


@dataclass(frozen=True)
class Stage:
    database_uri: str
    service: CreditsProcess
    key: str
    naive_url: str

    @property
    def database_environ(self) -> dict[str, str]:
        """Where psql and pgbench find the database."""
        place = urlsplit(self.database_uri)
        return {
            **os.environ,
            "PGHOST": place.hostname or "",
            "PGPORT": str(place.port),
            "PGUSER": place.username or "",
            "PGPASSWORD": place.password or "",
            "PGDATABASE": place.path[1:],
        }

    def sql(self, text: str) -> str:
        command = [str(postgres_bin() / "psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        run = subprocess.run(
            command,
            input=text,
            env=self.database_environ,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if run.returncode:
            raise BenchError(run.stderr.strip())
        return run.stdout

    def cache_reads(self) -> dict[tuple[str, str], float]:
        """How often a tier was hit and missed, so far."""
        found = re.findall(
            r'^credits_cache_reads_total{result="(\w+)",tier="(\w+)"} (\S+)$', self.service.metrics(), re.MULTILINE
        )
        return {(tier, result): float(number) for result, tier, number in found}


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as exits:
        admin_key = new_admin_key()
        up = start(
            exits,
            folder,
            admin_key=admin_key,
            http_port=free_port(),
            health_port=free_port(),
            durable=True,
            parameters=_PARAMETERS,
        )
        service, database_uri = up.service, up.postgres.uri("credits")
        key = _issue(service.url, admin_key)
        naive_url = _naive(exits, folder, database_uri, key)
        made = Stage(database_uri, service, key, naive_url)
        for peer in ("peer.sql", "bare.sql"):
            made.sql((HERE / peer).read_text(encoding="utf-8"))
        made.sql(
            "INSERT INTO credits.accounts (tenant_id, balance, total_purchased) "  # noqa: S608 - numbers of ours
            f"SELECT 'org-' || to_char(n, 'FM00000'), {_CREDITS}, {_CREDITS} "
            f"FROM generate_series(0, {ZIPF_TENANTS - 1}) n; VACUUM ANALYZE credits.accounts;"
        )
        _touch(service.url, key)
        _run_in(made)
        yield made


def _run_in(on: Stage) -> None:
    """Leaves files of the database's log for use again, as a server that has run for some minutes has.

    A new one fills 16 MB with zeros for each, and commits wait for it.
    """
    on.sql(
        "SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal() "  # noqa: S608 - a number of ours
        f"FROM generate_series(1, {_SEGMENTS}); CHECKPOINT;"
    )


def _touch(url: str, key: str) -> None:
    """Consumes once for each tenant: a tenant's first text makes its data key, which is no part of a consume."""
    for first in range(0, TENANTS, _TOUCHED_AT_ONCE):
        items = [
            {"tenant_id": f"org-{n:05}", "amount": 1, "reference": "first", "idempotency_key": str(uuid.uuid4())}
            for n in range(first, first + _TOUCHED_AT_ONCE)
        ]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - http to loopback
            url + "/credits/consume/batch", json.dumps({"items": items}).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            answer.read()


def _issue(url: str, admin_key: str) -> str:
    """An issued key, as a platform's caller has it: not the one that needs no lookup."""
    body = json.dumps({"tenant_id": None, "scopes": ["consume", "read"]}).encode()
    headers = {"Authorization": f"Bearer {admin_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + "/credits/keys", body, headers)  # noqa: S310 - http to loopback
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
        key: str = json.load(answer)["key"]
    return key


def _naive(exits: ExitStack, folder: Path, database_uri: str, key: str) -> str:
    port = free_port()
    child = Child("the naive route", folder / "naive.log")
    exits.callback(child.stop)
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "naive:app", "--host", LOOPBACK]
    child.start(
        [*command, "--port", str(port), "--log-level", "warning", "--no-access-log"],
        environ={**os.environ, "BENCH_DATABASE_URI": database_uri, "BENCH_API_KEY": key},
    )
    child.wait_until(lambda: listens(port), 20)
    return f"http://{LOOPBACK}:{port}"
