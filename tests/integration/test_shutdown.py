"""SIGTERM under load: what was accepted is answered."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from shieldx_contract import CREDITS_SERVE, ENV_DRAIN_DELAY_S
from tests.integration.harness import Api, Stack, new_id

DRAIN_DELAY_S = 1.5
PROXY_LAG_S = 0.7
ANSWERED_BEFORE = 50
"""How long a proxy goes on sending after it could have seen that the pod is unready."""


@dataclass
class Seen:
    statuses: list[int] = field(default_factory=list)
    closed: int = 0
    unready_at: float | None = None


async def _client(api: Api, tenant_id: str, seen: Seen) -> None:
    """A caller behind a proxy: over one connection, until the proxy takes the pod out."""
    async with httpx.AsyncClient(base_url=api.url, headers=api.headers, timeout=10) as http:
        while seen.unready_at is None or time.monotonic() < seen.unready_at + PROXY_LAG_S:
            body = {"tenant_id": tenant_id, "amount": 1, "idempotency_key": new_id()}
            answer = await http.post("/credits/consume", json=body)
            seen.statuses.append(answer.status_code)
            seen.closed += answer.headers.get("connection") == "close"


def test_sigterm_under_load_loses_no_request(stack: Stack) -> None:
    with ExitStack() as exits:
        process = stack.replica(exits, **{ENV_DRAIN_DELAY_S: str(DRAIN_DELAY_S)})
        api = Api(process.url, stack.admin_key)
        exits.callback(api.close)
        tenant_id, slow_tenant_id = api.tenant(1_000_000), api.tenant(10)
        seen = Seen()

        async def probe(http: httpx.AsyncClient) -> None:
            while (await http.get(process.health_url + "/readyz")).status_code == 200:  # noqa: ASYNC110 - it asks over HTTP
                await asyncio.sleep(0.05)
            seen.unready_at = time.monotonic()

        async def run() -> httpx.Response:
            blocker = await asyncpg.connect(stack.postgres.uri("credits"))
            transaction = blocker.transaction()
            async with httpx.AsyncClient(timeout=10) as http:
                clients = [asyncio.create_task(_client(api, tenant_id, seen)) for _ in range(8)]
                probing = asyncio.create_task(probe(http))
                async with asyncio.timeout(20):
                    while len(seen.statuses) < ANSWERED_BEFORE:  # noqa: ASYNC110 - what it waits for is a count
                        await asyncio.sleep(0.01)
                process.child.signal(signal.SIGTERM)
                signalled_at = time.monotonic()
                await asyncio.gather(probing, *clients)
                assert seen.unready_at is not None
                assert seen.unready_at - signalled_at < 1

                # a request that is still being answered when the port is closed
                await transaction.start()
                await blocker.execute("SELECT FROM credits.accounts WHERE tenant_id = $1 FOR UPDATE", slow_tenant_id)
                slow = asyncio.create_task(asyncio.to_thread(api.consume, slow_tenant_id, 1))
                await asyncio.sleep(signalled_at + DRAIN_DELAY_S + 0.5 - time.monotonic())
                assert not slow.done()
                await transaction.rollback()
                answer = await slow
            await blocker.close()
            return answer

        assert asyncio.run(run()).status_code == 200
        assert process.child.wait(10) == 0
    assert set(seen.statuses) == {200}
    assert len(seen.statuses) > ANSWERED_BEFORE
    assert seen.closed > 0
    spent = stack.sql("SELECT total_spent FROM credits.accounts WHERE tenant_id = $1", tenant_id)
    assert spent[0]["total_spent"] == len(seen.statuses)


def test_a_kept_connection_that_is_idle_at_sigterm_gets_one_more_answer_which_ends_it(stack: Stack) -> None:
    with ExitStack() as exits:
        process = stack.replica(exits, **{ENV_DRAIN_DELAY_S: "0"})
        with httpx.Client(base_url=process.url, headers=stack.api.headers, timeout=10) as kept:
            tenant_id = stack.api.tenant(10)
            assert kept.get(f"/credits/balance/{tenant_id}").headers.get("connection") != "close"
            process.child.signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                connect_again_and_again(process.http_port)
            # on the connection of before, since no other could be opened
            last = kept.get(f"/credits/balance/{tenant_id}")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        assert process.child.wait(10) == 0


def connect_again_and_again(port: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()


def test_a_port_that_is_taken_is_named(stack: Stack) -> None:
    run = subprocess.run(
        [sys.executable, *CREDITS_SERVE[1:]],
        env=stack.service.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr == (
        f"cannot listen on 127.0.0.1:{stack.service.http_port}: Address already in use: free the port or set another\n"
    )
