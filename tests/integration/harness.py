"""What integration tests talk with: the running service, over HTTP, and its database, by SQL."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import redis

from dev.devserver.ports import free_port
from dev.devserver.postgres import Postgres
from dev.devserver.redis import Redis
from dev.devserver.service import CreditsProcess, new_admin_key
from dev.devserver.stack import start
from shieldx_contract import (
    ENV_AUDIT_SIGNING_KEY_FILE,
    ENV_KEY_PEPPER_FILE,
    ENV_MASTER_KEYS_FILE,
    ENV_WEBHOOK_ALLOWED_HOSTS,
)

SHARED = (ENV_KEY_PEPPER_FILE, ENV_MASTER_KEYS_FILE, ENV_AUDIT_SIGNING_KEY_FILE, ENV_WEBHOOK_ALLOWED_HOSTS)
"""What all replicas have in common."""
PROBLEM = "application/problem+json"
_numbers = count()
T = TypeVar("T")


def new_id() -> str:
    return str(uuid.uuid4())


def new_tenant_id() -> str:
    return f"org-{next(_numbers):05d}-{uuid.uuid4().hex[:8]}"


class Api:
    """A client with a key. Calls give the response, whatever its status."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.key = key
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=self.headers, timeout=15)

    def close(self) -> None:
        self.http.close()

    @contextmanager
    def with_key(self, key: str | None) -> Iterator["Api"]:
        other = Api(self.url, key)
        try:
            yield other
        finally:
            other.close()

    def tenant(self, credits_: int = 0) -> str:
        """A new tenant with that many credits."""
        tenant_id = new_tenant_id()
        assert self.http.put(f"/credits/tenants/{tenant_id}").status_code == 201
        if credits_:
            assert self.purchase(tenant_id, credits_).status_code == 200
        return tenant_id

    def issue(self, tenant_id: str | None, *scopes: str) -> str:
        answer = self.http.post("/credits/keys", json={"tenant_id": tenant_id, "scopes": list(scopes)})
        assert answer.status_code == 201
        key: str = answer.json()["key"]
        return key

    def consume(self, tenant_id: str, amount: Any, key: str | None = None, **more: Any) -> httpx.Response:
        body = {"tenant_id": tenant_id, "amount": amount, "idempotency_key": key or new_id(), **more}
        return self.http.post("/credits/consume", json=body)

    def purchase(self, tenant_id: str, amount: Any, key: str | None = None, **more: Any) -> httpx.Response:
        body = {"tenant_id": tenant_id, "amount": amount, "idempotency_key": key or new_id(), **more}
        return self.http.post("/credits/purchase", json=body)

    def refund(self, transaction_id: object, amount: Any, key: str | None = None) -> httpx.Response:
        body = {"transaction_id": transaction_id, "amount": amount, "idempotency_key": key or new_id()}
        return self.http.post("/credits/refund", json=body)

    def reserve(self, tenant_id: str, amount: Any, expires_in_s: int = 600, key: str | None = None) -> httpx.Response:
        body = {"tenant_id": tenant_id, "amount": amount, "expires_in_s": expires_in_s}
        return self.http.post("/credits/reserve", json={**body, "idempotency_key": key or new_id()})

    def commit(self, reservation_id: str, amount: Any, key: str | None = None) -> httpx.Response:
        body = {"amount": amount, "idempotency_key": key or new_id()}
        return self.http.post(f"/credits/reservations/{reservation_id}/commit", json=body)

    def cancel(self, reservation_id: str, key: str | None = None) -> httpx.Response:
        body = {"idempotency_key": key or new_id()}
        return self.http.post(f"/credits/reservations/{reservation_id}/cancel", json=body)

    def grants(self, tenant_id: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.http.get(f"/credits/grants/{tenant_id}", params=query)
        assert answer.status_code == 200, answer.text
        lots: list[dict[str, Any]] = answer.json()["grants"]
        return lots

    def entries(self, tenant_id: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.http.get(f"/credits/transactions/{tenant_id}", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["transactions"]
        return found

    def balance(self, tenant_id: str, **headers: str) -> httpx.Response:
        return self.http.get(f"/credits/balance/{tenant_id}", headers=headers)

    async def consume_all(self, bodies: list[dict[str, Any]], *, connections: int = 64) -> list[httpx.Response]:
        """All of them at once, over at most that many connections."""
        limits = httpx.Limits(max_connections=connections)
        async with httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=30, limits=limits) as client:
            return await asyncio.gather(*[client.post("/credits/consume", json=body) for body in bodies])


def problem_of(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document of an answer, which must be one of that sort."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"https://shieldx.io/problems/{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


@dataclass(frozen=True)
class Stack:
    """A database, a cache and one service on them."""

    postgres: Postgres
    redis: Redis
    service: CreditsProcess
    api: Api
    folder: Path
    admin_key: str

    def process(self, stack: ExitStack, database_uri: str, **settings: str) -> CreditsProcess:
        """Another process of the same service, which is not started yet and is stopped with `stack`."""
        shared = {name: self.service.environ[name] for name in SHARED}
        process = CreditsProcess(
            self.folder / f"replica-{next(_numbers)}",
            database_uri=database_uri,
            cache_uri=self.redis.uri,
            admin_key=self.admin_key,
            http_port=free_port(),
            health_port=free_port(),
            settings={**shared, **settings},
        )
        stack.callback(process.stop)
        return process

    def replica(self, stack: ExitStack, **settings: str) -> CreditsProcess:
        """Another process of the same service, started and stopped with `stack`."""
        process = self.process(stack, self.postgres.service_uri("credits"), **settings)
        process.start()
        return process

    @contextmanager
    def client_of(self, process: CreditsProcess) -> Iterator[Api]:
        """A client of a process of this service, with the administrator's key."""
        client = Api(process.url, self.admin_key)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def client_of_a_replica(self) -> Iterator[Api]:
        """A client of another process of the same service."""
        with ExitStack() as exits, self.client_of(self.replica(exits)) as client:
            yield client

    def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return query(self.postgres.uri("credits"), statement, *arguments)


@contextmanager
def running_stack(folder: Path, *, durable: bool = False, **settings: str) -> Iterator[Stack]:
    with ExitStack() as stack:
        admin_key = new_admin_key()
        up = start(
            stack,
            folder,
            admin_key=admin_key,
            http_port=free_port(),
            health_port=free_port(),
            durable=durable,
            settings={ENV_WEBHOOK_ALLOWED_HOSTS: "127.0.0.1", **settings},
        )
        api = Api(up.service.url, admin_key)
        stack.callback(api.close)
        yield Stack(up.postgres, up.redis, up.service, api, folder, admin_key)


def query(uri: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    async def run(connection: "asyncpg.Connection[asyncpg.Record]") -> list[asyncpg.Record]:
        return await connection.fetch(statement, *arguments)

    return asyncio.run(with_connection(uri, run))


async def with_connection(uri: str, use: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]") -> T:
    connection = await asyncpg.connect(uri)
    try:
        return await use(connection)
    finally:
        await connection.close()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for it. Raises: AssertionError."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.1)


def text_in(store: "redis.Redis", key: bytes | str) -> bytes:
    """What Redis holds under the key. Raises: AssertionError."""
    found = store.get(key)
    assert isinstance(found, bytes), f"{key!r} holds {found!r}"
    return found


def in_time(**ahead: float) -> str:
    """A time that lies ahead, as the API takes it."""
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


def let_pass(stack: Stack, tenant_id: str, seconds: float) -> None:
    """Moves what will expire for a tenant so much nearer, as if the time had passed."""
    for table in ("grants", "holds"):
        stack.sql(
            f"UPDATE credits.{table} SET expires_at = expires_at - make_interval(secs => $2) WHERE tenant_id = $1",  # noqa: S608
            tenant_id,
            seconds,
        )
    stack.sql(
        "UPDATE credits.accounts SET next_event_at = next_event_at - make_interval(secs => $2) WHERE tenant_id = $1",
        tenant_id,
        seconds,
    )


def command(*arguments: str | Path, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs `shieldx credits ...`; without `environ` with nothing of a service's settings."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SHIELDX_")}
    return subprocess.run(
        [sys.executable, "-m", "shieldx_runtime", "credits", *map(str, arguments)],
        env=environ or plain,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


DELTAS = {"purchase": 1, "refund": 1, "consume": -1, "commit": -1, "expire": -1}


@dataclass(frozen=True)
class Books:
    """All that is written of one tenant, as of one moment: holds may expire while it is read."""

    account: asyncpg.Record
    ledger: list[asyncpg.Record]
    lots: list[asyncpg.Record]
    links: dict[tuple[str, int], asyncpg.Record]
    """By chain and number, the ones before the tenant's own included."""


def read_books(stack: Stack, tenant_id: str) -> Books:
    async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> Books:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            links = await connection.fetch(
                "SELECT DISTINCT l.chain_id, l.seq, l.leaves, l.hash FROM credits.ledger e JOIN credits.chain_links l "
                "ON l.chain_id = e.chain_id AND l.seq BETWEEN e.chain_seq - 1 AND e.chain_seq WHERE e.tenant_id = $1",
                tenant_id,
            )
            account = await connection.fetchrow("SELECT * FROM credits.accounts WHERE tenant_id = $1", tenant_id)
            assert account is not None
            return Books(
                account,
                await connection.fetch("SELECT * FROM credits.ledger WHERE tenant_id = $1 ORDER BY version", tenant_id),
                await connection.fetch("SELECT * FROM credits.grants WHERE tenant_id = $1", tenant_id),
                {(str(link["chain_id"]), link["seq"]): link for link in links},
            )

    return asyncio.run(with_connection(stack.postgres.uri("credits"), read))


def assert_books_balance(stack: Stack, tenant_id: str) -> None:
    """The account equals the sum of its ledger, versions have no gap, every entry is in its chain, lots add up."""
    books = read_books(stack, tenant_id)
    account = books.account
    assert [row["version"] for row in books.ledger] == list(range(1, account["version"] + 1))
    balance = 0
    for row in books.ledger:
        balance += DELTAS.get(row["kind"], 0) * row["amount"]
        assert row["balance_after"] == balance >= 0
    assert account["balance"] == balance
    assert [row["transaction_id"] for row in books.ledger if not _is_chained(books, row)] == []
    assert sum(lot["held"] for lot in books.lots) == account["reserved_funds"]
    assert sum(lot["remaining"] for lot in books.lots) >= account["balance"] - account["reserved_funds"]


def entry_of(row: asyncpg.Record) -> bytes:
    """What is hashed of a row of the ledger."""

    def text(value: str | None) -> str:
        return "" if value is None else json.dumps(value, ensure_ascii=False)

    fields = ["2", row["tenant_id"], row["version"], row["kind"], row["amount"], row["balance_after"]]
    fields += [row["transaction_id"], row["idempotency_key"] or "", row["key_id"], row["related_id"] or ""]
    fields += [row["created_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")]
    fields += [text(row["description"]), text(row["reference"]), text(row["source"])]
    return "|".join(str(field) for field in fields).encode()


def _is_chained(books: Books, row: asyncpg.Record) -> bool:
    chain_id, seq = str(row["chain_id"]), row["chain_seq"]
    link, before = books.links[chain_id, seq], books.links.get((chain_id, seq - 1))
    leaves, place = link["leaves"], 32 * row["chain_pos"]
    assert link["hash"] == hashlib.sha256((before["hash"] if before else bytes(32)) + leaves).digest()
    return bool(leaves[place : place + 32] == hashlib.sha256(b"\0" + entry_of(row)).digest())
