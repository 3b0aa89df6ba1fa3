"""A loopback proxy before the S3 server that does what networks and servers do on bad days."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from dev.devserver.ports import LOOPBACK

_BUFFER: Final = 1 << 16
_IDLE_S: Final = 30.0
_ERROR: Final = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: 50\r\n"
    b"Connection: close\r\n\r\n"
    b"<Error><Code>InternalError</Code></Error>         "
)


@dataclass
class Faults:
    """What happens to the next connections: `errors` are answered 500, `cuts` are cut off after `cut_after_bytes`.

    `delay_s` passes before each piece of 64 KiB, in both directions.
    """

    errors: int = 0
    cuts: int = 0
    cut_after_bytes: int = 1 << 20
    delay_s: float = 0.0
    seen: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> str:
        with self.lock:
            self.seen += 1
            if self.errors > 0:
                self.errors -= 1
                return "error"
            if self.cuts > 0:
                self.cuts -= 1
                return "cut"
            return ""


@contextmanager
def proxy(port: int, faults: Faults) -> Iterator[str]:
    """The endpoint of a proxy before `port`."""
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()
        acceptor = threading.Thread(target=_accept, args=(server, port, faults, ended), daemon=True)
        acceptor.start()
        try:
            yield f"http://{LOOPBACK}:{server.getsockname()[1]}"
        finally:
            ended.set()
            acceptor.join(5)


def _accept(server: socket.socket, port: int, faults: Faults, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            client, _ = server.accept()
        except TimeoutError:
            continue
        threading.Thread(target=_serve, args=(client, port, faults), daemon=True).start()


def _serve(client: socket.socket, port: int, faults: Faults) -> None:
    kind = faults.take()
    with client:
        client.settimeout(_IDLE_S)
        try:
            if kind == "error":
                client.recv(_BUFFER)
                client.sendall(_ERROR)
                return
            with socket.create_connection((LOOPBACK, port), timeout=_IDLE_S) as upstream:
                limit = faults.cut_after_bytes if kind == "cut" else None
                back = threading.Thread(target=_pump, args=(upstream, client, limit, faults.delay_s), daemon=True)
                back.start()
                _pump(client, upstream, limit, faults.delay_s)
                back.join(_IDLE_S)
        except OSError:
            return  # either side is gone: that is what this is for


def _pump(source: socket.socket, sink: socket.socket, limit: int | None, delay_s: float) -> None:
    passed = 0
    try:
        while data := source.recv(_BUFFER):
            time.sleep(delay_s)
            sink.sendall(data)
            passed += len(data)
            if limit is not None and passed >= limit:
                break
        for side in (source, sink) if limit is not None else (sink,):
            side.shutdown(socket.SHUT_RDWR if limit is not None else socket.SHUT_WR)
    except OSError:
        return
