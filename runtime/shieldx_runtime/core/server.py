"""Two HTTP servers in one process, the API and its health, and an orderly end.

SIGTERM: unready at once; accepting goes on for `drain_delay_s`, until every proxy knows; then the API's port is
closed, each kept connection is told by its next answer to end, what was accepted is finished, and the process ends
with 0. Health answers until the last request is done.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Generator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from shieldx_runtime.core import log
from shieldx_runtime.core.faults import ListenError
from shieldx_runtime.core.health import Health
from shieldx_runtime.core.protocol import IDLE_TIMEOUT_S, BoundedProtocol

_BACKLOG: Final = 2048
_GRACE_S: Final = 5
_FAREWELL_S: Final = 2.0
"""So long a kept connection may wait for its last request: closing it at once would cut one off that is on its way."""
_LOOK_EVERY_S: Final = 0.05
_logger = log.get(__name__)


class _Server(uvicorn.Server):
    """Leaves signals to `serve`: two servers must not both take them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def say_farewell(self) -> None:
        """Accepts no more, and waits until an answer has ended each connection that is kept, or long enough."""
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + _FAREWELL_S
        while self.server_state.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn keeps a set
            await asyncio.sleep(_LOOK_EVERY_S)


def _server(app: ASGIApp, grace_s: int, protocol: type[asyncio.Protocol]) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_TIMEOUT_S,
            timeout_graceful_shutdown=grace_s,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ListenError: the address is taken or not ours.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {reason}: free the port or set another") from error


async def serve(  # noqa: PLR0913 - two servers and how they end
    api: ASGIApp,
    health_app: ASGIApp,
    health: Health,
    *,
    api_socket: socket.socket,
    health_socket: socket.socket,
    drain_delay_s: float,
    request_timeout_s: float,
    api_protocol: type[asyncio.Protocol] = BoundedProtocol,
) -> None:
    """Serves until SIGTERM or SIGINT. Returns when every accepted request has been answered."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api_server = _server(api, int(request_timeout_s) + _GRACE_S, api_protocol)
    health_server = _server(health_app, 1, BoundedProtocol)
    health_task = asyncio.create_task(health_server.serve(sockets=[health_socket]))
    api_task = asyncio.create_task(api_server.serve(sockets=[api_socket]))
    stopped = asyncio.create_task(stop.wait())
    _logger.info("serving", address=str(api_socket.getsockname()), health=str(health_socket.getsockname()))

    await asyncio.wait({stopped, api_task, health_task}, return_when=asyncio.FIRST_COMPLETED)
    health.stop()
    if stop.is_set():
        _logger.info("stopping: unready, still accepting", drain_delay_s=drain_delay_s)
        await asyncio.sleep(drain_delay_s)
        await api_server.say_farewell()
    api_server.should_exit = True
    await api_task
    health_server.should_exit = True
    await health_task
    stopped.cancel()
    _logger.info("stopped")
