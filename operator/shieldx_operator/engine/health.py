"""The operator's own probes and metrics, over HTTP on a port that no tenant reaches.

/healthz  500 when this process must be restarted: a dead watch, a dead worker, an election that stands still
/readyz   503 until the API server has answered
/metrics  Prometheus text
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import web

from shieldx_contract import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from shieldx_operator.engine.metrics import Metrics

_BEAT_S: Final = 0.5
_MAX_LAG_S: Final = 10.0

Problems = Callable[[], list[str]]
"""What is wrong now, one sentence each; empty if nothing is."""


@dataclass(slots=True)
class LoopLag:
    """How late the event loop wakes up: what blocks it delays everything."""

    metrics: Metrics
    lag_s: float = 0.0

    async def run(self) -> None:
        while True:
            asked_s = time.monotonic()
            await asyncio.sleep(_BEAT_S)
            self.lag_s = max(0.0, time.monotonic() - asked_s - _BEAT_S)
            self.metrics.loop_lag_s.set(self.lag_s)

    def problems(self) -> list[str]:
        return [f"the event loop is {self.lag_s:.0f} s late"] if self.lag_s > _MAX_LAG_S else []


@dataclass(slots=True)
class HealthServer:
    """Serves the probes. `refresh` brings gauges up to date before they are read."""

    metrics: Metrics
    port: int
    alive: Problems
    ready: Problems
    refresh: Callable[[], None]
    _runner: web.AppRunner | None = None
    bound_port: int = field(default=0)

    async def start(self) -> None:
        """Listen on all interfaces; port 0 takes a free one (`bound_port`)."""
        app = web.Application()
        app.router.add_get(LIVENESS_PATH, self._healthz)
        app.router.add_get(READINESS_PATH, self._readyz)
        app.router.add_get(METRICS_PATH, self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, None, self.port).start()
        self.bound_port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self.alive(), HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.ready(), HTTPStatus.SERVICE_UNAVAILABLE)

    async def _metrics(self, _: web.Request) -> web.Response:
        self.refresh()
        return web.Response(body=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})


def _answer(problems: list[str], bad: HTTPStatus) -> web.Response:
    status = bad if problems else HTTPStatus.OK
    return web.json_response({"status": "ok" if not problems else "failing", "problems": problems}, status=status)
