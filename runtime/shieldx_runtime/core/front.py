"""Answers the hottest requests before the application, byte for byte as the application would.

A request takes this way only if the bytes of its header fields have been parsed before, on any connection, by the same
parser that reads all others, and were found plain: one key, which is known to be valid, nothing that changes how a
message is framed or answered. So no second parser decides what a message is. The whole message must have come in one
piece, with nothing behind it, on a connection that has nothing else to answer. Whatever is different in any way goes
the ordinary way from its first byte on.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol

from starlette.responses import Response

from shieldx_runtime.core.auth import header_digest
from shieldx_runtime.core.protocol import BoundedProtocol
from shieldx_runtime.core.quota import Quota

MAX_HEADS: Final = 1024
MAX_HEAD_BYTES: Final = 2048
MAX_BODY_BYTES: Final = 8192
_END: Final = b"\r\n\r\n"
_FRAMING: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"})
"""Fields that change how a message is read or answered."""
_COUNTING: Final = frozenset({b"authorization", b"content-length", b"content-type", b"connection"})
"""Fields that count, each once at most."""
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Head:
    """What the header fields of a plain request say, and nothing else that counts.

    `key` is the digest of the key, as `Authenticator.known` wants it.
    """

    key: bytes
    body_bytes: int
    is_json: bool


class Front(Protocol):
    """Who answers. `shunned`: fields that it does not understand; a request with one goes the ordinary way."""

    shunned: frozenset[bytes]

    def knows(self, key: bytes) -> bool:
        """Whether the key of that digest has been found valid within the time for which that counts."""

    def offer(self, line: bytes, head: Head, body: bytes, reply: "Reply") -> bool:
        """Whether it takes the request: then it answers by `reply`, once, now or later.

        `line` is the request line without its end.
        """

    def answered(self, reply: "Reply", status: int) -> None:
        """The answer has been given."""

    @property
    def closing(self) -> bool:
        """Whether connections are to be closed after their answer."""


class _NobodyWaits:
    def set(self) -> None:
        pass


class Reply:
    """The one answer to a request. In uvicorn's eyes it is the cycle of the request that is being answered."""

    __slots__ = ("_protocol", "began", "disconnected", "keep_alive", "method", "quota", "response_complete", "route")

    message_event: ClassVar = _NobodyWaits()

    def __init__(self, protocol: "FrontedProtocol") -> None:
        self._protocol = protocol
        self.began = time.perf_counter()
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False
        self.method = ""
        self.route = ""
        self.quota: Quota | None = None

    def give(self, status: int, fields: bytes, body: bytes) -> None:
        """`fields` are the lines of the application's header fields, each with its end."""
        self.response_complete = True
        self._protocol.answer(self, status, fields, body)

    def give_response(self, response: Response) -> None:
        fields = b"".join(b"%b: %b\r\n" % field for field in response.raw_headers)
        self.give(response.status_code, fields, bytes(response.body))


class FrontedProtocol(BoundedProtocol):
    """`front` is set by `behind`."""

    front: ClassVar[Front]
    heads: ClassVar[dict[bytes, Head]]
    _defaults: ClassVar[tuple[list[tuple[bytes, bytes]] | None, bytes]] = (None, b"")

    _plain = True
    _in_message = False
    _chunk = b""
    _begun_in_chunk = 0

    def data_received(self, data: bytes) -> None:
        if self._is_free():
            end = data.find(_END)
            line_end = data.find(b"\r\n")
            head = self.heads.get(data[line_end + 2 : end + 2]) if end > line_end else None
            if head is not None and len(data) == end + len(_END) + head.body_bytes:
                reply = Reply(self)
                before, self.cycle = self.cycle, reply  # type: ignore[assignment]
                if self.front.offer(data[:line_end], head, data[end + len(_END) :], reply):
                    return
                self.cycle = before
            self._chunk, self._begun_in_chunk = data, 0
            super().data_received(data)
            self._chunk = b""
        else:
            super().data_received(data)

    def _is_free(self) -> bool:
        """Whether the next byte begins a message and may be answered at once."""
        return (
            self._plain
            and not self._in_message
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def on_message_begin(self) -> None:
        self._in_message = True
        self._begun_in_chunk += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._plain = False
        elif self._chunk and self._begun_in_chunk == 1:
            self._learn()
        super().on_headers_complete()

    def _learn(self) -> None:
        """Remembers the header fields of the first message of a chunk, if they are plain."""
        end = self._chunk.find(_END)
        line = b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url)
        if not self._chunk.startswith(line) or not len(line) <= end <= MAX_HEAD_BYTES or not self._keeps_alive():
            return
        fields = self._chunk[len(line) : end + 2]
        head = plain_head(fields, self.headers, self.front.shunned)
        if head is not None and self.front.knows(head.key):
            if len(self.heads) >= MAX_HEADS:
                self.heads.clear()
            self.heads[fields] = head

    def _keeps_alive(self) -> bool:
        return self.parser.get_http_version() == "1.1" and bool(self.parser.should_keep_alive())

    def _default_fields(self) -> bytes:
        """The lines of the fields that every answer has; uvicorn makes a new list of them each second."""
        known, fields = self._defaults
        headers = self.server_state.default_headers
        if known is not headers:
            fields = b"".join([b"%b: %b\r\n" % field for field in headers])
            # on the class: all connections of a server have the same
            type(self)._defaults = headers, fields  # noqa: SLF001 - its own
        return fields

    def answer(self, reply: Reply, status: int, fields: bytes, body: bytes) -> None:
        """Writes the answer and makes the connection free for the next request."""
        if not reply.disconnected and not self.transport.is_closing():
            parts = [_STATUS_LINES[status], self._default_fields(), fields]
            if reply.quota is not None:
                parts.append(reply.quota.fields(reply.began))
            if self.front.closing or not reply.keep_alive:
                reply.keep_alive = False
                parts.append(b"connection: close\r\n")
            parts += (b"\r\n", body)
            self.transport.write(b"".join(parts))
            if not reply.keep_alive:
                self.transport.close()
        self.on_response_complete()
        self.front.answered(reply, status)


def plain_head(fields: bytes, parsed: Sequence[tuple[bytes, bytes]], shunned: frozenset[bytes]) -> Head | None:
    """What header fields say, or None where they say anything that counts beyond a key, a length and a type.

    `fields` are the bytes, each line with its end; `parsed` is what the parser made of them: the two must agree.
    """
    lines = [line.partition(b":") for line in fields.split(b"\r\n")[:-1]]
    names = [name for name, _ in parsed]
    found = {name: value for name, value in parsed if name in _COUNTING}
    if (
        [(name.lower(), value.strip(b" \t")) for name, _, value in lines] != list(parsed)
        or not shunned.isdisjoint(names)
        or not _FRAMING.isdisjoint(names)
        or sum(name in _COUNTING for name in names) != len(found)
        or b"authorization" not in found
        or found.get(b"connection", b"keep-alive").lower() != b"keep-alive"
    ):
        return None
    length = found.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return None
    media_type = found.get(b"content-type")
    return Head(header_digest(found[b"authorization"]), int(length), media_type == b"application/json")


def behind(front: Front) -> type[asyncio.Protocol]:
    """The protocol of a server whose hottest requests `front` answers."""
    members: dict[str, Any] = {"front": front, "heads": {}}
    return type("FrontedBy" + type(front).__name__, (FrontedProtocol,), members)
