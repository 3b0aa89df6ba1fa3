"""Calls to services, against a real HTTP server on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from bench.operator.widget import SECRETS
from shieldx_operator.engine.calls import call
from shieldx_operator.engine.types import Failure, HttpCall, Ref

SECRET = Ref(SECRETS, "n", "s")
VALUES = {"id": "k/1", "key": "top-secret-value"}


class Service:
    """Remembers what it was asked, answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, str]] = []
        self.status, self.delay_s = 200, 0.0
        self.body: dict[str, Any] = {"fine": True}
        self.headers: dict[str, str] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.asked.append(
            (request.method, request.raw_path, json.loads(text) if text else None, request.headers["Authorization"])
        )
        await asyncio.sleep(self.delay_s)
        return web.json_response(self.body, status=self.status, headers=self.headers)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def made(url: str, *, secret: dict[str, str] | None = None, **options: Any) -> tuple[int, Any] | Failure:
    wanted = HttpCall("register", options.pop("method", "PUT"), url, bearer="bearer-value", secret=SECRET, **options)
    async with aiohttp.ClientSession() as session:
        return await call(session, wanted, VALUES if secret is None else secret)


async def test_values_of_the_secret_are_put_in_their_places(service: Service) -> None:
    body = {"key": "{secret:key}", "list": ["{secret:id}", 1], "literal": "{other}"}
    answer = await made(f"{service.url}/keys/{{secret:id}}", json=body)
    assert answer == (200, {"fine": True})
    sent = {"key": "top-secret-value", "list": ["k/1", 1], "literal": "{other}"}
    assert service.asked == [("PUT", "/keys/k%2F1", sent, "Bearer bearer-value")]


async def test_a_status_that_was_not_expected_is_a_failure_with_the_services_words(service: Service) -> None:
    service.status, service.body = 409, {"title": "Conflict", "detail": "key top-secret-value is taken"}
    failure = await made(f"{service.url}/x")
    assert isinstance(failure, Failure)
    assert failure.reason == "HTTP409"
    assert failure.message == "the service answered 409: key *** is taken"


async def test_an_expected_status_is_an_answer_whatever_it_is(service: Service) -> None:
    service.status = 404
    assert await made(f"{service.url}/x", method="DELETE", expected=frozenset({404})) == (404, {"fine": True})


async def test_a_redirect_is_not_followed(service: Service) -> None:
    service.status, service.headers = 307, {"Location": f"{service.url}/elsewhere"}
    failure = await made(f"{service.url}/x")
    assert isinstance(failure, Failure)
    assert failure.reason == "HTTP307"
    assert len(service.asked) == 1


async def test_a_service_that_does_not_answer_in_time_is_a_failure(service: Service) -> None:
    service.delay_s = 5
    failure = await made(f"{service.url}/x", timeout_s=0.1)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.retryable) == ("Timeout", True)


async def test_a_service_that_cannot_be_reached_is_a_failure_without_what_was_sent() -> None:
    failure = await made("http://127.0.0.1:9/{secret:key}")
    assert isinstance(failure, Failure)
    assert failure.reason == "Unreachable"
    assert "top-secret-value" not in repr(failure)
    assert "bearer-value" not in repr(failure)


async def test_a_key_that_the_secret_lacks_is_named(service: Service) -> None:
    failure = await made(f"{service.url}/x", json={"a": "{secret:none}"}, secret={})
    assert isinstance(failure, Failure)
    assert failure.message == "Secret n/s has no key 'none'"
    assert service.asked == []
