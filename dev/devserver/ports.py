"""Ports of loopback."""

import socket
from typing import Final

from dev.devserver.process import StartError

LOOPBACK: Final = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, variable: str) -> None:
    """Raises: StartError, somebody listens on `port`; `variable` is what sets another."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        raise StartError(f"port {port} of {LOOPBACK} is busy: stop what listens there or set {variable}") from error


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
