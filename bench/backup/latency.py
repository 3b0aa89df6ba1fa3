"""What a dump costs the calls that run beside it: the p99 of consumes before, and while the pipeline copies."""

import asyncio
import math
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from dev.devserver.ports import free_port
from dev.devserver.redis import Redis
from dev.devserver.service import CreditsProcess, new_admin_key
from tests.integration.backup.world import World
from tests.integration.harness import Api

RATE_PER_S = 100
WARM_UP_S = 3.0
_CONNECTIONS = 32
_TIMEOUT_S = 60
_LONGEST_S = 900.0


def measure(world: World, folder: Path, *, before_s: float) -> dict[str, Any]:
    """p99 of an open loop of consumes, each counted from the moment at which it was due."""
    with ExitStack() as stack:
        redis = Redis(folder / "redis")
        stack.callback(redis.stop)
        redis.start()
        admin_key = new_admin_key()
        service = CreditsProcess(
            folder / "service",
            database_uri=world.uri,
            cache_uri=redis.uri,
            admin_key=admin_key,
            http_port=free_port(),
            health_port=free_port(),
        )
        stack.callback(service.stop)
        service.start(wait_ready_s=60)
        api = Api(service.url, admin_key)
        stack.callback(api.close)
        tenant_id = api.tenant(1_000_000_000)
        asyncio.run(_load(api, tenant_id, _for(WARM_UP_S)))
        before = asyncio.run(_load(api, tenant_id, _for(before_s)))
        run = world.start("run", "--json")
        stack.callback(run.kill)
        during = asyncio.run(_load(api, tenant_id, lambda: run.poll() is None))
        stdout, stderr = run.communicate()
        if run.returncode != 0:
            raise subprocess.CalledProcessError(run.returncode, "backup run", stdout, stderr)
    return {
        "consumes_per_s": RATE_PER_S,
        "p99_before_ms": _p99_ms(before),
        "p99_during_ms": _p99_ms(during),
        "p99_during_vs_before": round(_p99_ms(during) / _p99_ms(before), 2),
        "consumes_during": len(during),
    }


def _for(seconds: float) -> Callable[[], bool]:
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() < end_s


async def _load(api: Api, tenant_id: str, goes_on: Callable[[], bool]) -> list[float]:
    """Seconds from due to answered of every call.

    Raises:
        RuntimeError: one was not answered 200.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    began_s = time.monotonic()
    tasks: list[asyncio.Task[float]] = []
    async with aiohttp.ClientSession(connector=connector, headers=api.headers, timeout=timeout) as session:

        async def consume(due_s: float) -> float:
            body = {"tenant_id": tenant_id, "amount": 1, "idempotency_key": str(uuid.uuid4())}
            async with session.post(f"{api.url}/credits/consume", json=body) as answer:
                if answer.status != 200:  # noqa: PLR2004 - OK
                    raise RuntimeError(f"a consume was answered {answer.status}: {await answer.text()}")
                await answer.read()
            return time.monotonic() - due_s

        while goes_on() and time.monotonic() - began_s < _LONGEST_S:
            due_s = began_s + len(tasks) / RATE_PER_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            tasks.append(asyncio.create_task(consume(due_s)))
        return await asyncio.gather(*tasks)


def _p99_ms(latencies_s: list[float]) -> float:
    ordered = sorted(latencies_s)
    return round(1000 * ordered[math.ceil(0.99 * len(ordered)) - 1], 1)
