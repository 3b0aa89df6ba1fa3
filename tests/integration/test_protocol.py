"""What is no HTTP, too much of it, or too slow, is refused with a problem and a closed connection."""

import json
import socket
import time

from shieldx_runtime.core.protocol import HEAD_TIMEOUT_S, MAX_HEAD_BYTES
from tests.integration.harness import PROBLEM, Stack

HEAD = b"GET /credits/balance/org-123 HTTP/1.1\r\nHost: x\r\n"


def _connect(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", stack.service.http_port), timeout=HEAD_TIMEOUT_S + 5)


def _answer(connection: socket.socket) -> tuple[int, str]:
    """Status and problem of what comes before the connection is closed."""
    said = b""
    while part := connection.recv(65536):
        said += part
    head, _, body = said.partition(b"\r\n\r\n")
    assert f"content-type: {PROBLEM}".encode() in head
    return int(head.split()[1]), json.loads(body)["type"].rpartition("/")[2]


def test_what_is_no_http_is_400(stack: Stack) -> None:
    with _connect(stack) as connection:
        connection.sendall(b"HELLO\r\n\r\n")
        assert _answer(connection) == (400, "malformed-request")


def test_a_head_without_end_is_431(stack: Stack) -> None:
    with _connect(stack) as connection:
        connection.sendall(HEAD)
        time.sleep(0.1)
        connection.sendall(b"X-Long: " + b"x" * MAX_HEAD_BYTES)
        assert _answer(connection) == (431, "request-header-fields-too-large")


def test_a_head_that_never_ends_is_408(stack: Stack) -> None:
    began = time.monotonic()
    with _connect(stack) as connection:
        connection.sendall(HEAD)
        assert _answer(connection) == (408, "request-timeout")
    assert HEAD_TIMEOUT_S - 0.5 < time.monotonic() - began < HEAD_TIMEOUT_S + 3


def test_a_head_in_pieces_is_served_again_and_again(stack: Stack) -> None:
    with _connect(stack) as connection:
        for _ in range(3):
            for piece in (HEAD[:10], HEAD[10:], b"Authorization: Bearer x", b"\r\n", b"\r\n"):
                connection.sendall(piece)
                time.sleep(0.02)
            assert connection.recv(65536).startswith(b"HTTP/1.1 401")
