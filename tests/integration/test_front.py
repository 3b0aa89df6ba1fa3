"""What is answered before FastAPI is answered byte for byte as FastAPI answers it.

Each request is sent twice: as it is, and with a header field that the front does not take, so that the route answers.
The two act for tenants of their own that are in the same state.
"""

import json
import random
import re
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.harness import Api, Stack, assert_books_balance, new_id

ROUTE = b'If-None-Match: "none"\r\n'
VARYING = (
    (re.compile(rb"\r\ndate: [^\r]+"), b"\r\ndate: ?"),
    (re.compile(rb'"transaction_id":"[0-9a-f-]{36}"'), b'"transaction_id":"?"'),
    (re.compile(rb'\r\nratelimit: "key";r=\d+;t=\d+\r'), b"\r\nratelimit: ?\r"),
    (re.compile(rb"urn:uuid:[0-9a-f-]{36}"), b"urn:uuid:?"),
)


@dataclass
class Side:
    """One of the two ways: its connection, its tenant, its extra header."""

    stack: Stack
    key: str
    tenant_id: str
    extra: bytes
    connection: socket.socket | None = None

    def open(self) -> socket.socket:
        if self.connection is None:
            self.connection = socket.create_connection(("127.0.0.1", self.stack.service.http_port), timeout=15)
        return self.connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def head(self, line: bytes, fields: bytes, body: bytes = b"") -> bytes:
        key = b"Authorization: Bearer " + self.key.encode() + b"\r\n"
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        return line.replace(b"TENANT", self.tenant_id.encode()) + b"\r\nHost: x\r\n" + key + fields + length

    def post(
        self, body: bytes, *, line: bytes = b"POST /credits/consume HTTP/1.1", fields: bytes | None = None
    ) -> bytes:
        body = body.replace(b"TENANT", self.tenant_id.encode())
        plain = b"Content-Type: application/json\r\n" if fields is None else fields
        return self.head(line, plain, body) + self.extra + b"\r\n" + body

    def get(self, line: bytes) -> bytes:
        return self.head(line, b"") + self.extra + b"\r\n"

    def say(self, *pieces: bytes, answers: int = 1) -> list[bytes]:
        """Sends the pieces and reads that many answers, or what comes before the connection is closed."""
        connection = self.open()
        for piece in pieces:
            connection.sendall(piece)
        said = b""
        found: list[bytes] = []
        while len(found) < answers:
            head, end, rest = said.partition(b"\r\n\r\n")
            match = re.search(rb"\r\ncontent-length: (\d+)", head)
            length = int(match[1]) if match else 0
            if end and len(rest) >= length:
                found.append(head + end + rest[:length])
                said = rest[length:]
                continue
            part = connection.recv(65536)
            if not part:
                self.close()
                break
            said += part
        if found and b"\r\nconnection: close" in found[-1]:
            assert connection.recv(1) == b""
            self.close()
        assert not said
        return [self.normal(answer) for answer in found]

    def normal(self, answer: bytes) -> bytes:
        answer = answer.replace(self.tenant_id.encode(), b"TENANT")
        for pattern, same in VARYING:
            answer = pattern.sub(same, answer)
        return answer


@dataclass
class Both:
    front: Side
    route: Side

    def same(self, make: Any, *, answers: int = 1) -> list[bytes]:
        """`make` gives the pieces that a side sends; the answers, which are the same on both sides."""
        fronts, routes = (side.say(*_pieces(make(side)), answers=answers) for side in (self.front, self.route))
        assert fronts == routes
        return fronts


def _pieces(made: bytes | list[bytes]) -> list[bytes]:
    return [made] if isinstance(made, bytes) else made


@pytest.fixture(scope="module")
def platform_key(stack: Stack) -> str:
    return stack.api.issue(None, "consume", "read")


@pytest.fixture
def both(stack: Stack, api: Api, platform_key: str) -> Iterator[Both]:
    made = Both(Side(stack, platform_key, api.tenant(1000), b""), Side(stack, platform_key, api.tenant(1000), ROUTE))
    yield made
    for side in (made.front, made.route):
        side.close()
        assert_books_balance(stack, side.tenant_id)


def fronted(stack: Stack) -> int:
    match = re.search(r"^http_front_answers_total (\S+)$", stack.service.metrics(), re.MULTILINE)
    assert match
    return int(float(match[1]))


def wish(**members: Any) -> bytes:
    body = {"tenant_id": "TENANT", "amount": 1, "idempotency_key": new_id(), **members}
    return json.dumps(body).encode()


def status(answer: bytes) -> int:
    return int(answer[9:12])


def test_a_consume_its_replay_and_its_refusals_are_the_same_and_come_from_the_front(both: Both, stack: Stack) -> None:
    key = new_id()
    first = wish(idempotency_key=key, amount=600, description='ü "x" \\ 💳', reference="r")
    both.same(lambda s: s.post(first))
    before = fronted(stack)
    cases = [
        (first, 200),
        (wish(idempotency_key=key.upper(), amount=600, description='ü "x" \\ 💳', reference="r"), 200),
        (wish(idempotency_key=key, amount=601, description='ü "x" \\ 💳', reference="r"), 422),
        (wish(amount=500, description='ü "x" \\ 💳', reference="r"), 402),
        (wish(amount=400, description=None, reference=None), 200),
        (wish(amount=100, description=None, reference=None), 402),
    ]
    for body, expected in cases:
        # twice: the first of each length teaches the front its header fields, the second is a replay from it
        for _ in range(2):
            (answer,) = both.same(lambda s, body=body: s.post(body))
            assert status(answer) == expected
    assert fronted(stack) - before >= len(cases)


def test_a_balance_is_the_same_and_comes_from_the_front(both: Both, stack: Stack) -> None:
    before = fronted(stack)
    for amount in (1, 2, 3):
        both.same(lambda s, amount=amount: s.post(wish(amount=amount)))
        for _ in range(2):
            (answer,) = both.same(lambda s: s.get(b"GET /credits/balance/TENANT HTTP/1.1"))
            assert status(answer) == 200
    assert fronted(stack) - before >= 4


BODIES: list[bytes] = [
    wish(amount=0),
    wish(amount=-1),
    wish(amount=2**53 - 1),
    wish(amount=2**53),
    wish(amount=10**40),
    wish(amount=True),
    wish(amount="1"),
    wish(amount=None),
    wish(amount=[]),
    wish().replace(b'"amount": 1', b'"amount": 1.0'),
    wish().replace(b'"amount": 1', b'"amount": 1e0'),
    wish().replace(b'"amount": 1', b'"amount": 1E+2'),
    wish().replace(b'"amount": 1', b'"amount": 01'),
    wish().replace(b'"amount": 1', b'"amount": -0'),
    wish().replace(b'"amount": 1', b'"amount": NaN'),
    wish().replace(b'"amount": 1', b'"amount": Infinity'),
    wish().replace(b'"amount": 1', b'"amount": 5, "amount": 1'),
    wish().replace(b'"amount": 1', b'"amount": "x", "amount": 1'),
    wish().replace(b'"amount": 1', b'"amount":\t\n 1'),
    wish().replace(b'"amount"', b'"\\u0061mount"'),
    wish(tenant_id="Org"),
    wish(tenant_id="no-such-tenant"),
    wish(tenant_id="TENANT\n"),
    wish(tenant_id=""),
    wish(tenant_id="a" * 64),
    wish(tenant_id=None),
    wish(tenant_id=5),
    wish(idempotency_key=None),
    wish(idempotency_key=""),
    wish(idempotency_key=str(uuid.UUID(int=0))),
    wish(idempotency_key=f"{new_id()}\n"),
    wish(idempotency_key=uuid.uuid4().hex),
    wish(idempotency_key=7),
    wish(description="x" * 512),
    wish(description="x" * 513),
    wish(description="\U0001f4b3" * 512),
    wish(description="a\0b"),
    wish(description=""),
    wish(description=5),
    wish(reference="\ud800"),
    wish(reference="\x7f\x80"),
    wish(colour="blue"),
    wish(source="x"),
    wish().replace(b'"TENANT"', b'"TEN\\u0041NT"'),
    wish() + b" \r\n\t",
    wish() + b"x",
    wish() + wish(),
    b"\xef\xbb\xbf" + wish(),
    wish().decode().encode("utf-16"),
    wish().replace(b"{", b"{\xff", 1),
    wish(description="ü").replace(b"\\u00fc", b"\xfc"),
    wish(description="ü").replace(b"\\u00fc", "ü".encode()),
    wish()[:-1],
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b" ",
    b"[" * 5000,
    b'{"a":' * 3000,
    b"9" * 5000,
]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_a_body_of_any_sort_is_answered_the_same(both: Both, number: int) -> None:
    body = BODIES[number]
    same_length = wish(description="")
    if len(body) > len(same_length):
        same_length = wish(description="x" * max(0, min(512, len(body) - len(same_length))))
    both.same(lambda s: s.post(same_length.ljust(len(body))))
    for _ in range(2):
        (answer,) = both.same(lambda s: s.post(body))
        assert status(answer) < 500


HEADS: list[Any] = [
    lambda s: s.post(wish(), fields=b""),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json; charset=utf-8\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: text/plain\r\n"),
    lambda s: s.post(wish(), fields=b"content-type: APPLICATION/JSON\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type:application/json \r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nContent-Type: text/plain\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nAuthorization: Bearer x\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nConnection: keep-alive\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nConnection: close\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"),
    lambda s: s.post(
        wish(), fields=b"Content-Type: application/json\r\nIdempotency-Key: " + new_id().encode() + b"\r\n"
    ),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nX-Folded: a\r\n b\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nX-Bad Name: a\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nX-Nul: \0\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nX-High: \xff\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\r\nX-Long: " + b"x" * 8000 + b"\r\n"),
    lambda s: s.post(wish(), fields=b"Content-Type: application/json\nX-Bare: a\r\n"),
    lambda s: s.post(wish(), line=b"POST /credits/consume HTTP/1.0"),
    lambda s: s.post(wish(), line=b"POST /credits/consume HTTP/2.0"),
    lambda s: s.post(wish(), line=b"POST /credits/consume?x=1 HTTP/1.1"),
    lambda s: s.post(wish(), line=b"POST /credits/consume/ HTTP/1.1"),
    lambda s: s.post(wish(), line=b"POST /credits/c%6fnsume HTTP/1.1"),
    lambda s: s.post(wish(), line=b"POST http://x/credits/consume HTTP/1.1"),
    lambda s: s.post(wish(), line=b"post /credits/consume HTTP/1.1"),
    lambda s: s.post(wish(), line=b"PUT /credits/consume HTTP/1.1"),
    lambda s: s.post(wish(), line=b"GET /credits/balance/TENANT HTTP/1.1"),
    lambda s: s.post(wish(), line=b" POST /credits/consume HTTP/1.1"),
    lambda s: b"\r\n" + s.post(wish()),
    lambda s: s.get(b"GET /credits/balance/TENANT?at=2020-01-01T00:00:00Z HTTP/1.1"),
    lambda s: s.get(b"GET /credits/balance/Org HTTP/1.1"),
    lambda s: s.get(b"GET /credits/balance/nobody HTTP/1.1"),
    lambda s: s.get(b"GET /credits/balance/TENANT%0a HTTP/1.1"),
    lambda s: s.get(b"GET /credits/balance/ HTTP/1.1"),
    lambda s: s.get(b"POST /credits/consume HTTP/1.1"),
]


@pytest.mark.parametrize("number", range(len(HEADS)))
def test_a_head_of_any_sort_is_answered_the_same(both: Both, number: int) -> None:
    both.same(lambda s: s.post(wish()))
    both.same(lambda s: s.get(b"GET /credits/balance/TENANT HTTP/1.1"))
    for _ in range(2):
        (answer,) = both.same(HEADS[number])
        assert status(answer) < 500
    both.same(lambda s: s.post(wish()))


def test_a_tenants_key_may_do_the_same_on_both_ways(both: Both, api: Api) -> None:
    for scopes in (("consume",), ("read",), ("consume", "read")):
        for side in (both.front, both.route):
            side.key = api.issue(side.tenant_id, *scopes)
        for _ in range(3):
            both.same(lambda s: s.post(wish()))
            both.same(lambda s: s.get(b"GET /credits/balance/TENANT HTTP/1.1"))
            both.same(lambda s: s.post(wish(tenant_id="someone-else")))
            both.same(lambda s: s.get(b"GET /credits/balance/someone-else HTTP/1.1"))


def test_a_key_that_is_revoked_is_refused_at_once_where_it_was_revoked(both: Both, api: Api) -> None:
    for side in (both.front, both.route):
        side.key = api.issue(None, "consume", "read")
    for _ in range(3):
        assert status(both.same(lambda s: s.post(wish()))[0]) == 200
    for side in (both.front, both.route):
        assert api.http.delete(f"/credits/keys/{side.key.split('_')[1]}").status_code == 204
    assert status(both.same(lambda s: s.post(wish()))[0]) == 401
    assert status(both.same(lambda s: s.get(b"GET /credits/balance/TENANT HTTP/1.1"))[0]) == 401


def test_pipelined_requests_are_answered_in_their_order(both: Both) -> None:
    for _ in range(3):
        both.same(lambda s: s.post(wish()))
    three = [wish(amount=n) for n in (1, 2, 3)]
    answers = both.same(
        lambda s: b"".join(
            [*map(s.post, three), s.get(b"GET /credits/balance/TENANT HTTP/1.1"), s.get(b"GET /nothing HTTP/1.1")]
        ),
        answers=5,
    )
    assert [status(a) for a in answers] == [200, 200, 200, 200, 404]
    # the first alone, so that the front has it; the others while it is being decided
    answers = both.same(
        lambda s: [s.post(wish()), s.post(wish()), s.get(b"GET /credits/balance/TENANT HTTP/1.1")], answers=3
    )
    assert [status(a) for a in answers] == [200, 200, 200]


def test_a_request_in_any_pieces_is_answered_the_same(both: Both) -> None:
    for _ in range(2):
        both.same(lambda s: s.post(wish()))
    length = len(both.front.post(wish()))
    for cut in range(1, length, 7):

        def pieces(side: Side, cut: int = cut) -> list[bytes]:
            whole = side.post(wish())
            return [whole[:cut], whole[cut:]]

        assert status(both.same(pieces)[0]) == 200


def test_a_chunked_body_and_one_with_expect_are_answered_the_same(both: Both) -> None:
    def chunked(side: Side) -> bytes:
        body = wish().replace(b"TENANT", side.tenant_id.encode())
        fields = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        head = side.head(b"POST /credits/consume HTTP/1.1", fields) + side.extra + b"\r\n"
        return head + b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n"

    for _ in range(3):
        assert status(both.same(chunked)[0]) == 200
        assert status(both.same(lambda s: s.post(wish()))[0]) == 200

    def expecting(side: Side) -> bytes:
        return side.post(wish(), fields=b"Content-Type: application/json\r\nExpect: 100-continue\r\n")

    answers = both.same(expecting, answers=2)
    assert [status(a) for a in answers] == [100, 200]


@pytest.mark.timeout(240)
def test_5000_generated_requests_are_answered_the_same_and_never_with_5xx(both: Both) -> None:
    """A valid body with random bytes of it replaced, removed or doubled, padded so that the front knows its length."""
    chance = random.Random(7)  # noqa: S311 - reproducible on purpose
    alphabet = b'{}[]":,\\ \n019.eE-+truefalsnu\x00\x1f\x7f\xc3\xbc\xff\xed\xa0\x80'
    seen: dict[int, int] = {}
    for number in range(2500):
        body = bytearray(wish(amount=chance.choice([1, 2, 10**6]), description=chance.choice(["", "ü", None])))
        for _ in range(chance.choice([0, 1, 1, 2, 5])):
            place = chance.randrange(len(body))
            action = chance.randrange(3)
            if action == 0:
                body[place] = chance.choice(alphabet)
            elif action == 1:
                del body[place]
            else:
                body[place:place] = body[place : place + chance.randrange(1, 20)]
        padded = bytes(body).ljust(300)
        (answer,) = both.same(lambda s, padded=padded: s.post(padded))
        seen[status(answer)] = seen.get(status(answer), 0) + 1
        if number % 500 == 0:
            both.same(lambda s: s.get(b"GET /credits/balance/TENANT HTTP/1.1"))
    assert set(seen) <= {200, 400, 402, 404, 422}
    assert seen[200] > 300
    assert seen[400] > 300
    assert seen[422] > 100
