"""What every request meets before and after its route, without a database."""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from shieldx_runtime.core.auth import Authenticator, StoredKey
from shieldx_runtime.core.edge import MAX_BODY_BYTES, Admission, Edge
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.metrics import Metrics

KEY = f"sxk_{'a' * 16}_{'A' * 43}"
AUTH = {"Authorization": f"Bearer {KEY}"}


async def _nobody(_: str) -> StoredKey | None:
    raise DatabaseUnavailableError("database h:5432: connection refused")


class Front:
    """An edge before three routes, and a client."""

    def __init__(self, *, timeout_s: float = 5, max_in_flight: int = 2) -> None:
        self.release = asyncio.Event()
        self.draining = False
        self.metrics = Metrics()
        routes = [
            Route("/echo", self._echo, methods=["POST"]),
            Route("/wait/{name}", self._wait),
            Route("/break", self._break),
        ]
        self.edge = Edge(
            Router(routes),
            routes=list(routes),
            authenticator=Authenticator(pepper=b"p" * 16, admin_key=KEY, lookup=_nobody),
            metrics=self.metrics,
            request_timeout_s=timeout_s,
            draining=lambda: self.draining,
            admission=Admission(max_in_flight),
        )

    def client(self, app: ASGIApp | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app or self.edge)
        return httpx.AsyncClient(transport=transport, base_url="http://edge", headers=AUTH)

    async def _echo(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    async def _wait(self, _: Request) -> PlainTextResponse:
        await self.release.wait()
        return PlainTextResponse("done")

    async def _break(self, _: Request) -> PlainTextResponse:
        raise ZeroDivisionError("a bug")


def _slug(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_a_body_reaches_the_route_whole_however_it_was_cut() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * (MAX_BODY_BYTES // 4)

    async with Front().client() as client:
        assert len((await client.post("/echo", content=parts())).content) == MAX_BODY_BYTES


async def test_beyond_its_bound_it_refuses_at_once_and_then_serves_again() -> None:
    front = Front(max_in_flight=2)
    async with front.client() as client:
        waiting = [asyncio.create_task(client.get(f"/wait/{n}")) for n in range(2)]
        await asyncio.sleep(0.05)
        refused = await client.get("/wait/3")
        assert _slug(refused) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        front.release.set()
        assert [r.status_code for r in await asyncio.gather(*waiting)] == [200, 200]
        assert (await client.get("/wait/4")).status_code == 200


async def test_a_route_that_takes_too_long_is_503_with_retry_after() -> None:
    async with Front(timeout_s=0.1).client() as client:
        answer = await client.get("/wait/1")
        assert _slug(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_key_that_cannot_be_looked_up_is_503_and_not_401() -> None:
    async with Front().client() as client:
        answer = await client.get("/wait/1", headers={"Authorization": f"Bearer sxk_{'b' * 16}_{'B' * 43}"})
        assert _slug(answer) == (503, "unavailable")


async def test_a_bug_is_500_and_the_log_has_its_cause_under_the_same_name(caplog: pytest.LogCaptureFixture) -> None:
    async with Front().client() as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/break")
    assert _slug(answer) == (500, "internal-error")
    assert "a bug" not in answer.text


async def test_while_draining_each_answer_closes_its_connection() -> None:
    front = Front()
    front.release.set()
    async with front.client() as client:
        assert "connection" not in (await client.get("/wait/1")).headers
        front.draining = True
        assert (await client.get("/wait/1")).headers["connection"] == "close"


async def test_tenants_and_odd_methods_do_not_become_labels() -> None:
    front = Front()
    front.release.set()
    async with front.client() as client:
        await client.get("/wait/org-123")
        await client.request("BREW", "/wait/org-123")
        await client.get("/nothing/org-123")
        await client.get("/wait/org-123", headers={"Authorization": ""})
    text = front.metrics.exposition()[0].decode()
    assert "org-123" not in text
    assert "BREW" not in text
    assert 'method="GET",route="/wait/{name}",status="200"' in text
    assert 'method="other",route="/wait/{name}",status="405"' in text
    assert 'method="GET",route="unmatched",status="404"' in text
    assert 'method="GET",route="/wait/{name}",status="401"' in text
