"""A Redis of our own that keeps nothing."""

import secrets
import signal
from pathlib import Path

from dev.devserver.binaries import redis_server
from dev.devserver.ports import LOOPBACK, free_port, listens
from dev.devserver.process import Child


class Redis:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder.resolve()
        self._password = secrets.token_urlsafe(24)
        self.port = free_port()
        self._child = Child("Redis", self._folder / "redis.log")

    @property
    def child(self) -> Child:
        return self._child

    @property
    def uri(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def start(self, timeout_s: float = 10) -> None:
        """Starts it, on the same port each time. Raises: StartError."""
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": self._password,
            "save": '""',
            "appendonly": "no",
            "maxmemory": "64mb",
            "maxmemory-policy": "allkeys-lru",
            "dir": str(self._folder),
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        # settings come by standard input: a password never stands in arguments
        self._child.start([str(redis_server()), "-"], stdin=text)
        self._child.wait_until(lambda: listens(self.port), timeout_s)

    def stop(self) -> None:
        self._child.stop()

    def kill(self) -> None:
        self._child.kill()

    def freeze(self) -> None:
        """It goes on existing and answers nobody."""
        self._child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._child.signal(signal.SIGCONT)
