"""Malformed requests to every call of the API document, reproducible by a seed."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from shieldx_runtime.credits.http import write_cursor
from shieldx_runtime.credits.openapi import document
from shieldx_runtime.credits.routes import build_api

JSON: Final = "application/json"
_NO_TEXT: Final[list[Any]] = [5, [], {}, True, "x" * 513, "a\0b"]
_NO_NUMBER: Final[list[Any]] = ["1", 1.5, True, [], {}, -1, 10**40, 1e300]
_NO_AMOUNT: Final[list[Any]] = [*_NO_NUMBER, None, 0, 2**53]
_NO_ID: Final[list[Any]] = ["", "x", 5, [], {}, "7d3f8a523c1e4b5a9f0e2a6b1c8d4e90", "\ud800"]
_NO_TIME: Final[list[Any]] = ["x", "", 5, "2030-01-31", "2030-13-01T00:00:00Z", "2030-01-01T00:00:00", [], "9" * 400]
_NO_URL: Final[list[Any]] = [
    "x",
    "",
    5,
    "http://example.com/",
    "https://127.0.0.1.:0/",
    "https://[::1]/",
    "https://[",
    [],
]
WRONG: Final[dict[str, list[Any]]] = {
    "tenant_id": ["", "Org", "a b", "-a", "a" * 64, 5, [], {}, "org-1\n", "\ud800", "ü"],
    "amount": _NO_AMOUNT,
    "idempotency_key": [*_NO_ID, "7d3f8a52-3c1e-1b5a-9f0e-2a6b1c8d4e90"],
    "description": _NO_TEXT,
    "reference": _NO_TEXT,
    "source": ["", "x" * 65, 5, []],
    "priority": [*_NO_NUMBER, 1001],
    "expires_at": _NO_TIME,
    "expires_in_s": [*_NO_NUMBER, 0, 10**9, None],
    "transaction_id": [*_NO_ID, None],
    "scopes": [[], ["x"], "read", [1], ["read"] * 5, None, {}, [["read"]]],
    "rate_limit": [*_NO_NUMBER, 0, 10_000_001],
    "key": ["x", 5, "sxk_x_y", None],
    "confirm": ["", "somebody-else", 5, None, "x" * 65],
    "items": [[], {}, "x", 5, None, [{}] * 1001],
    "thresholds": ["x", [0], [1] * 11, [None], ["1"], None, 5],
    "webhook_url": _NO_URL,
    "secret_version": [0, -1, "1", 1.5, 10**9],
}
_BAD_PATHS: Final = ["Org", "a b", "%00", "a" * 64, "..", "-", "é", "x\ny", "%ff", "{}", "'", "a%2fb", "%"]
_FAR_AWAY: Final = "0001-01-01T00:00:00+14:00"
_ID: Final = "7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90"
_BAD_QUERIES: Final = {
    "limit": ["0", "-1", "x", "1.5", "99999999", "", "9" * 5000],
    "cursor": [
        *("x", "!", "é", "MXwyfDM", "e30", "x" * 257, "%00"),
        *map(write_cursor, ("transactions", "keys", "account", "grants"), ("9" * 30, "\0", "x", _FAR_AWAY + " " + _ID)),
        *map(write_cursor, (_FAR_AWAY, "2030-W01-1"), (_ID, _ID)),
    ],
    "kind": ["x", "", "consume,refund"],
    "at": ["x", "5", "2030-01-01", "9" * 100],
    "since": ["x", "0", "2030-02-30T00:00:00Z"],
    "until": ["x", "-1", "2030-01-01T00:00:00"],
    "from": ["x", "-1", "1.5", "9" * 100],
}
_TEXTS: Final = [b"", b"{", b"[]", b"null", b"1", b'"x"', b"{]", b"\xff\xfe", b"{'a':1}", b"NaN", b'{"a":' * 2000, b" "]
_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: dict[str, Any] | None
    queries: tuple[str, ...]


@dataclass(frozen=True)
class Bad:
    """A request: `kind` says in which way it is malformed."""

    kind: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def calls(tenant_id: str, unused_id: str) -> tuple[list[Call], list[Call]]:
    """All calls with a valid path and body: those with a body, and those with anything wrong in path or query."""
    made = document(build_api(None))
    schemas = made["components"]["schemas"]
    found = []
    for path, operations in made["paths"].items():
        filled = re.sub(r"\{tenant_id\}", tenant_id, re.sub(r"\{(reservation_id|transaction_id)\}", unused_id, path))
        filled = filled.replace("{key_id}", "0" * 16).replace("{name}", "redis")
        for method, operation in operations.items():
            body = None
            if "requestBody" in operation:
                name = operation["requestBody"]["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
                body = json.loads(json.dumps(schemas[name]["examples"][0]).replace("org-123", tenant_id))
            queries = tuple(p["name"] for p in operation.get("parameters", ()) if p["in"] == "query")
            found.append(Call(method.upper(), filled, body, queries))
    return found, [call for call in found if call.body is not None]


def generate(seed: int, count: int, tenant_id: str, unused_id: str) -> Iterator[Bad]:
    """So many malformed requests. None of them may be answered with success."""
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    every, with_body = calls(tenant_id, unused_id)
    methods: dict[str, set[str]] = {}
    for call in every:
        methods.setdefault(call.path, set()).add(call.method)
    for _ in range(count):
        kind = chance.choices(["field", "text", "path", "query", "method", "type", "key"], [60, 12, 8, 8, 4, 4, 4])[0]
        if kind == "field":
            yield _field(chance, chance.choice(with_body))
        elif kind == "text":
            yield _text(chance, chance.choice(with_body))
        elif kind == "path":
            yield _path(chance, chance.choice([c for c in every if tenant_id in c.path or unused_id in c.path]))
        elif kind == "query":
            yield _query(chance, chance.choice([c for c in every if c.queries]))
        elif kind == "method":
            path = chance.choice(sorted(methods))
            wrong = chance.choice([m for m in _METHODS if m not in methods[path]])
            yield Bad(kind, wrong, path, (), None)
        elif kind == "type":
            call = chance.choice(with_body)
            sort = chance.choice(["text/plain", "application/xml", "application/x-www-form-urlencoded", "x", ""])
            yield Bad(kind, call.method, call.path, (("content-type", sort),), json.dumps(call.body).encode())
        else:
            yield _keys(chance, chance.choice([c for c in with_body if c.body and "idempotency_key" in c.body]))


def _sent(kind: str, call: Call, body: bytes, *headers: tuple[str, str]) -> Bad:
    return Bad(kind, call.method, call.path, (("content-type", JSON), *headers), body)


def _field(chance: random.Random, call: Call) -> Bad:
    """One member is wrong, missing, unknown, or there twice."""
    body = dict(call.body or {})
    name = chance.choice([n for n in body if n in WRONG])
    if chance.random() < 0.1:
        body[chance.choice(["colour", "", "__proto__", "tenantId", "a" * 300])] = 1
    body[name] = chance.choice(WRONG[name])
    text = json.dumps(body)
    if chance.random() < 0.05:
        text = text[:-1] + f', "{name}": {json.dumps(chance.choice(WRONG[name]))}}}'
    return _sent("field", call, text.encode())


def _text(chance: random.Random, call: Call) -> Bad:
    whole = json.dumps(call.body).encode()
    cut = whole[: chance.randrange(1, len(whole) - 1)]
    return _sent("text", call, chance.choice([*_TEXTS, cut, cut, cut, whole + b"}", whole + whole]))


def _path(chance: random.Random, call: Call) -> Bad:
    before = call.path.rpartition("/")[0]
    wrong = quote(chance.choice(_BAD_PATHS), safe="%")
    parts = call.path.split("/")
    path = f"{before}/{wrong}" if chance.random() < 0.5 or len(parts) < 4 else "/".join([*parts[:3], wrong, "more"])
    body = json.dumps(call.body).encode() if call.body is not None else None
    return Bad("path", call.method, path, (("content-type", JSON),) if body else (), body)


def _query(chance: random.Random, call: Call) -> Bad:
    name = chance.choice(call.queries)
    value = quote(chance.choice(_BAD_QUERIES[name]), safe="%")
    return Bad("query", call.method, f"{call.path}?{name}={value}", (), None)


def _keys(chance: random.Random, call: Call) -> Bad:
    """A key in the header that is wrong or another one than in the body."""
    wrong = chance.choice(
        ["x", "0" * 36, "00000000-0000-4000-8000-000000000000", "7d3f8a52-3c1e-1b5a-9f0e-2a6b1c8d4e90"]
    )
    return _sent("key", call, json.dumps(call.body).encode(), ("idempotency-key", wrong))
