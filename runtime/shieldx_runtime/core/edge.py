"""What happens to every request before and after a route: measured, bounded, authenticated, answered in any case.

Raw ASGI, so that a request that is refused costs next to nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shieldx_runtime.core import log, problems
from shieldx_runtime.core.auth import Authenticator
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.core.quota import Quota

MAX_BODY_BYTES: Final = 64 * 1024
MAX_IN_FLIGHT: Final = 512
_BODY_TIMEOUT_S: Final = 5.0
_logger = log.get(__name__)
_outages: Final = log.Seldom(1.0)


class Admission:
    """How many requests may be answered at a time, whichever way they come; those beyond are refused at once."""

    __slots__ = ("in_flight", "limit")

    def __init__(self, limit: int = MAX_IN_FLIGHT) -> None:
        self.limit = limit
        self.in_flight = 0

    @property
    def full(self) -> bool:
        return self.in_flight >= self.limit


class Edge:
    """Wraps the API. `draining` says that this process will stop: connections are then closed after their answer."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        app: ASGIApp,
        *,
        routes: list[BaseRoute],
        authenticator: Authenticator,
        metrics: Metrics,
        request_timeout_s: float,
        draining: Callable[[], bool],
        admission: "Admission | None" = None,
        large_bodies: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`large_bodies` maps paths to the bytes that a body may have there; elsewhere it is MAX_BODY_BYTES."""
        self._app = app
        self._routes = routes
        self._authenticator = authenticator
        self._metrics = metrics
        self._timeout_s = request_timeout_s
        self._draining = draining
        self._admission = admission or Admission()
        self._large_bodies = large_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this service speaks HTTP only, not {scope['type']}")
        start = time.perf_counter()
        answer = _Answer(send, began=start, close=self._draining)
        try:
            try:
                await self._admit(scope, receive, answer)
            except ProblemError as error:
                await answer.give(error.response(), scope, receive)
            except Exception as error:  # noqa: BLE001 - every request gets an answer, and the log its cause
                # what the application let through it has answered already; the rest came from before it
                if answer.status == 0:
                    await answer.give(failure(error, scope["path"]), scope, receive)
        finally:
            self._metrics.request(scope["method"], self._route_of(scope), answer.status, time.perf_counter() - start)

    async def _admit(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if self._admission.full:
            raise problems.overloaded(self._admission.limit)
        self._admission.in_flight += 1
        try:
            await self._within_time(scope, receive, answer)
        finally:
            self._admission.in_flight -= 1

    async def _within_time(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Authentication and route share the request's time; the client's sending of the body has its own."""
        loop = asyncio.get_running_loop()
        reading = False
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                began = loop.time()
                principal = await self._authenticator.authenticate(_header(scope, b"authorization"))
                scope.setdefault("state", {})["principal"] = principal
                answer.quota = principal.quota
                if not principal.quota.admits(answer.began):
                    raise principal.quota.refusal(answer.began)
                principal.quota.count()
                reading, used_s = True, loop.time() - began
                limit.reschedule(loop.time() + _BODY_TIMEOUT_S)
                body = await _read_body(scope, receive, self._large_bodies.get(scope["path"], MAX_BODY_BYTES))
                reading = False
                limit.reschedule(loop.time() + self._timeout_s - used_s)
                await self._app(scope, _replay(body, receive), answer)
        except TimeoutError as error:
            if reading:
                raise ProblemError(
                    problems.SLOW_REQUEST,
                    f"the body did not arrive within {_BODY_TIMEOUT_S:g} s: send it at once",
                    headers={"Connection": "close"},
                ) from error
            raise DatabaseUnavailableError(f"no answer within {self._timeout_s:g} s") from error

    def _route_of(self, scope: Scope) -> str:
        """The path template, so that tenants do not become labels."""
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return str(getattr(route, "path", "unmatched"))
        return "unmatched"


def failure(error: Exception, path: str) -> Response:
    """The answer to a request that failed through no fault of its own, and the line in the log that goes with it."""
    if isinstance(error, DatabaseUnavailableError):
        if _outages.due():
            _logger.warning(
                "request failed: database unavailable",
                path=path,
                problem=str(error),
                others=_outages.take_passed_over(),
            )
        return problems.unavailable().response()
    problem = problems.internal()
    _logger.error("request failed", path=path, instance=problem.members["instance"], exc_info=error)
    return problem.response()


class _Answer:
    """Sends one answer: the application's, or a problem in place of one that never began."""

    def __init__(self, send: Send, *, began: float, close: Callable[[], bool]) -> None:
        self._send = send
        self._close = close
        self.began = began
        self.quota: Quota | None = None
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            more = self.quota.headers(self.began) if self.quota else []
            if self._close():
                more.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)

    async def give(self, response: Response, scope: Scope, receive: Receive) -> None:
        if self.status == 0:
            await response(scope, receive, self)


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


async def _read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body, which is small by contract.

    Raises:
        ProblemError: 413, it is larger than `max_bytes`; 400, the client went away in the middle.
    """
    announced = _header(scope, b"content-length") or "0"
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError(problems.MALFORMED, "the connection was closed before the body had arrived")
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(max_bytes: int) -> ProblemError:
    # closed, since what is still on its way of the body will not be read
    return ProblemError(
        problems.TOO_LARGE,
        f"the body is larger than {max_bytes} bytes: shorten its texts, or send it in parts",
        headers={"Connection": "close"},
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that has been read, then whatever the server says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
