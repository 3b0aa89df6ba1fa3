"""HTTP/1.1 with bounds on a request's head, whose refusals are problem documents like all others."""

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shieldx_runtime.core.problems import MALFORMED, MEDIA_TYPE, SLOW_REQUEST, Kind, ProblemError

MAX_HEAD_BYTES: Final = 32 * 1024
HEAD_TIMEOUT_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 75
"""Longer than the idle time of common proxies, so that it is the proxy that closes an idle connection."""

HEAD_TOO_LARGE: Final = Kind("request-header-fields-too-large", 431, "Request header fields too large")


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn bounds neither the size of a head nor the time that it may take; idle time it does, after an answer."""

    _in_head = False
    _head_bytes = 0
    _clock: asyncio.TimerHandle | None = None
    _idle_watch: asyncio.TimerHandle | None = None
    _last_activity = 0.0
    """By the loop's clock: when bytes came or an answer was given."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._last_activity = self.loop.time()
        self._watch_idleness()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        if self._idle_watch:
            self._idle_watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._last_activity = self.loop.time()
        began_before = self._in_head
        super().data_received(data)
        if self._in_head:
            if began_before:
                self._head_bytes += len(data)
            elif self._clock is None:
                self._start_clock(HEAD_TIMEOUT_S)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE, f"the head is larger than {MAX_HEAD_BYTES} bytes: send fewer headers")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, without a new timer for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._last_activity = self.loop.time()

    def _watch_idleness(self) -> None:
        """Closes the connection when nothing has come on it for `IDLE_TIMEOUT_S` and nothing is to be answered."""
        busy = self._in_head or (self.cycle is not None and not self.cycle.response_complete)
        idle_s = 0.0 if busy else self.loop.time() - self._last_activity
        if idle_s >= IDLE_TIMEOUT_S:
            self.transport.close()
        else:
            self._idle_watch = self.loop.call_later(IDLE_TIMEOUT_S - idle_s, self._watch_idleness)

    def send_400_response(self, msg: str) -> None:
        self._stop_clock()
        self._refuse(MALFORMED, f"this is no HTTP/1.1 request ({msg.rstrip('.')}): send one")

    def _start_clock(self, timeout_s: float) -> None:
        self._clock = self.loop.call_later(timeout_s, self._head_is_late)

    def _stop_clock(self) -> None:
        if self._clock:
            self._clock.cancel()
            self._clock = None

    def _head_is_late(self) -> None:
        self._refuse(SLOW_REQUEST, f"the head did not arrive within {HEAD_TIMEOUT_S:g} s: send it at once")

    def _refuse(self, kind: Kind, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = bytes(ProblemError(kind, detail).response().body)
        head = (
            f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
