"""A hundred evaluations of 10,000 samples at once, by HTTP, on a real database: how long each waits, and none lost."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from bench.shadow import traffic
from bench.shadow.speed import RULE
from dev.devserver.ports import LOOPBACK, free_port
from dev.devserver.postgres import Postgres
from dev.devserver.process import Child
from dev.devserver.redis import Redis
from dev.devserver.service import CreditsProcess, new_admin_key
from shieldx_contract import ENV_HEALTH_PORT, ENV_HTTP_PORT, READINESS_PATH, SHADOW_SERVE

EVALUATIONS: Final = 100
SAMPLES: Final = 10_000
_TENANTS: Final = 10
_POLL_S: Final = 0.5
_TIMEOUT_S: Final = 600.0
_READY_WITHIN_S: Final = 120


def measure(folder: Path) -> dict[str, float]:
    """The 95th percentile of the seconds from a question to its answer, and how many were lost."""
    with _serving(folder) as (url, key):
        taken = asyncio.run(_ask(url, key, folder))
    answered = sorted(seconds for seconds in taken if seconds is not None)
    if not answered:
        raise RuntimeError("no evaluation was answered")
    return {
        "p95_s_100x10000": round(answered[int(len(answered) * 0.95) - 1], 2),
        "lost_of_100": len(taken) - len(answered),
    }


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, str]]:
    with ExitStack() as exits:
        redis, postgres = Redis(folder / "redis"), Postgres(folder / "postgres", durable=False)
        for store in (redis, postgres):
            exits.callback(store.stop)
            store.start()
        postgres.create_database("credits")
        key, port, health_port = new_admin_key(), free_port(), free_port()
        # not started: it has the folder of secrets that both services share, and the ledger's keys
        beside = CreditsProcess(
            folder / "credits",
            database_uri=postgres.uri("credits"),
            cache_uri=redis.uri,
            admin_key=key,
            http_port=free_port(),
            health_port=free_port(),
        )
        child = Child("the shadow service", folder / "shadow.log")
        exits.callback(child.stop)
        ports = {ENV_HTTP_PORT: str(port), ENV_HEALTH_PORT: str(health_port)}
        child.start([sys.executable, *SHADOW_SERVE[1:]], environ={**beside.environ, **ports})
        child.wait_until(lambda: _answers(f"http://{LOOPBACK}:{health_port}{READINESS_PATH}"), _READY_WITHIN_S)
        yield f"http://{LOOPBACK}:{port}", key


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).is_success
    except httpx.HTTPError:
        return False


async def _ask(url: str, key: str, folder: Path) -> list[float | None]:
    samples = traffic.write(folder / "samples.ndjson", SAMPLES).read_bytes()
    limits = httpx.Limits(max_connections=EVALUATIONS)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits) as client:
        for number in range(_TENANTS):
            sent = await client.post(
                "/shadow/samples",
                params={"tenant_id": f"org-{number}"},
                content=samples,
                headers={"Content-Type": "application/x-ndjson"},
            )
            sent.raise_for_status()
        return await asyncio.gather(*[_one(client, number) for number in range(EVALUATIONS)])


async def _one(client: httpx.AsyncClient, number: int) -> float | None:
    """Seconds until the answer; None where there was none. Each has a seed of its own, so that no cache helps."""
    body: dict[str, Any] = {
        "rule_id": f"rule-{number}",
        "rule_type": "signature",
        "rule_config": RULE,
        "sample_size": SAMPLES,
        "tenant_id": f"org-{number % _TENANTS}",
        "seed": number,
    }
    began = time.perf_counter()
    asked = await client.post("/shadow/evaluations", json=body)
    if not asked.is_success:
        return None
    while time.perf_counter() - began < _TIMEOUT_S:
        told = (await client.get(asked.headers["location"])).json()
        if told["status"] == "completed":
            return time.perf_counter() - began
        if told["status"] in ("failed", "cancelled"):
            return None
        await asyncio.sleep(_POLL_S)
    return None
