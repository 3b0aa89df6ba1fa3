"""Liveness, readiness and metrics, on a port that tenants do not reach."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shieldx_contract import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from shieldx_runtime.core.metrics import Metrics

_CHECK_TIMEOUT_S: Final = 1.5
"""Less than a kubelet waits for a probe, so that the answer says what hangs."""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` gives what is wrong, or nothing. A check that is not `required` never makes the service unready."""

    run: Callable[[], Awaitable[str]]
    required: bool = True


class Health:
    """Whether this process can serve. Once `stop` was called it is unready for good."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self.stopping = False

    def stop(self) -> None:
        self.stopping = True

    async def readiness(self) -> tuple[bool, dict[str, dict[str, object]]]:
        """Whether to send requests here, and each check's result with its message."""
        names = list(self._checks)
        messages = await asyncio.gather(*[self._message(self._checks[name]) for name in names])
        ready = not self.stopping and not any(
            message and self._checks[name].required for name, message in zip(names, messages, strict=True)
        )
        results: dict[str, dict[str, object]] = {
            name: {"ok": not message, "message": message} for name, message in zip(names, messages, strict=True)
        }
        if self.stopping:
            results["shutdown"] = {"ok": False, "message": "the process is stopping: requests go elsewhere"}
        return ready, results

    async def _message(self, check: Check) -> str:
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                return await check.run()
        except TimeoutError:
            return f"no answer within {_CHECK_TIMEOUT_S} s"


def build_app(health: Health, metrics: Metrics) -> Starlette:
    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        is_ready, checks = await health.readiness()
        return JSONResponse({"ready": is_ready, "checks": checks}, status_code=200 if is_ready else 503)

    async def measure(_: Request) -> Response:
        document, content_type = metrics.exposition()
        return Response(document, headers={"Content-Type": content_type})

    return Starlette(routes=[Route(LIVENESS_PATH, live), Route(READINESS_PATH, ready), Route(METRICS_PATH, measure)])
