"""Consumes at a fixed rate, whatever the answers do: `python bench/credits/openloop.py URL RATE SECONDS CONNECTIONS`.

The API key comes on standard input. Latency counts from the moment at which a request was due, so that a stall of
the service is seen by all requests that were due in it. Writes one line of JSON.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from typing import cast
from urllib.parse import urlsplit

import uvloop

_TENANTS = 10_000
_DRAIN_S = 5.0
_BODY = (
    b'{"tenant_id":"org-%05d","amount":1,"description":"API call charge","reference":"req-abc123",'
    b'"idempotency_key":"%08x-%04x-4%03x-8%03x-%012x"}'
)


class _Connection(asyncio.Protocol):
    def __init__(self, load: "_Load") -> None:
        self.load = load
        self.due = 0.0
        self.said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.load.free.append(self)

    def send(self, due: float) -> None:
        self.due, self.said = due, b""
        self.transport.write(self.load.request())

    def data_received(self, data: bytes) -> None:
        said = self.said = self.said + data
        end = said.find(b"\r\n\r\n")
        if end < 0:
            return
        at = said.find(b"content-length: ") + len(b"content-length: ")
        if len(said) >= end + 4 + int(said[at : said.find(b"\r", at)]):
            self.load.answered(self, said[9:12])


class _Load:
    def __init__(self, host: str, key: str) -> None:
        self.free: deque[_Connection] = deque()
        self.waiting: deque[float] = deque()
        self.latencies_s: list[float] = []
        self.errors = 0
        length = len(_BODY % ((0,) * 6))
        # one formatting a request: what the generator takes of the cores, the service cannot have
        self._form = (
            f"POST /credits/consume HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode() + _BODY

    def request(self) -> bytes:
        bits = random.getrandbits(118)
        return self._form % (
            int(random.random() * _TENANTS),  # noqa: S311 - no secret
            bits >> 86,
            bits >> 70 & 0xFFFF,
            bits >> 58 & 0xFFF,
            bits >> 46 & 0xFFF,
            bits & 0x3FFFFFFFFFFF,
        )

    def answered(self, connection: _Connection, status: bytes) -> None:
        self.latencies_s.append(time.perf_counter() - connection.due)
        self.errors += status != b"200"
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.free.append(connection)

    async def run(self, rate: float, seconds: float) -> int:
        """How many requests were due."""
        began = time.perf_counter()
        sent = 0
        while (now := time.perf_counter()) < began + seconds:
            while sent < (now - began) * rate:
                due = began + sent / rate
                sent += 1
                if self.free:
                    self.free.popleft().send(due)
                else:
                    self.waiting.append(due)
            await asyncio.sleep(0.001)
        deadline = time.perf_counter() + _DRAIN_S
        while len(self.latencies_s) < sent and time.perf_counter() < deadline:  # noqa: ASYNC110 - what it waits for is a count
            await asyncio.sleep(0.01)
        return sent


async def _main(url: str, rate: float, seconds: float, connections: int) -> None:
    place = urlsplit(url)
    if place.hostname is None or place.port is None:
        sys.exit(f"{url!r} names no host and port: give it as http://127.0.0.1:8080")
    host, port = place.hostname, place.port
    load = _Load(place.netloc, sys.stdin.readline().strip())
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), host, port)
    due = await load.run(rate, seconds)
    latencies = sorted(load.latencies_s)
    missing = due - len(latencies)
    print(
        json.dumps(
            {
                "due": due,
                "errors": load.errors + missing,
                "p50_ms": latencies[len(latencies) // 2] * 1000,
                "p95_ms": latencies[int(len(latencies) * 0.95)] * 1000,
                "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
