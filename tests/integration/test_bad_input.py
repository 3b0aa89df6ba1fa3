"""Whatever is sent: never a 5xx, never a partial effect, always a problem document."""

import asyncio
import json
import random
import re
import socket
from collections import Counter

import pytest

from tests.integration.badrequests import Bad, generate
from tests.integration.harness import PROBLEM, Api, Stack, assert_books_balance, new_id

COUNT = 5000
SEED = 20_261_124
CONNECTIONS = 8
OF_A_TENANT = ("ledger", "grants", "holds", "idempotency", "alert_rules", "alerts")
OF_ALL = ("accounts", "api_keys")


def state(stack: Stack, tenant_id: str) -> dict[str, object]:
    """All that a request could have changed."""
    found: dict[str, object] = {
        table: stack.sql(f"SELECT count(*) FROM credits.{table} WHERE tenant_id = $1", tenant_id)[0][0]  # noqa: S608
        for table in OF_A_TENANT
    }
    found |= {table: stack.sql(f"SELECT count(*) FROM credits.{table}")[0][0] for table in OF_ALL}  # noqa: S608
    (account,) = stack.sql("SELECT * FROM credits.accounts WHERE tenant_id = $1", tenant_id)
    return {**found, "account": dict(account)}


async def ask(bad: Bad, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer."""
    lines = [f"{bad.method} {bad.path} HTTP/1.1", "host: x", f"authorization: Bearer {key}"]
    lines += [f"{name}: {value}" for name, value in bad.headers]
    lines += [] if bad.body is None else [f"content-length: {len(bad.body)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + (bad.body or b""))
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"\r\ncontent-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
    sort = re.search(r"\r\ncontent-type: ([^\r]+)", head)
    if "\r\nconnection: close" in head:
        raise AssertionError(f"{bad}: the connection was closed: {head}")
    return int(head[9:12]), sort[1] if sort else "", body


async def ask_all(stack: Stack, requests: list[Bad]) -> list[tuple[Bad, int, str, bytes]]:
    waiting = iter(requests)
    answers = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.service.http_port)
        for bad in waiting:
            answer = await ask(bad, stack.admin_key, reader, writer)
            answers.append((bad, *answer))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[connection() for _ in range(CONNECTIONS)])
    return answers


@pytest.mark.timeout(180)
def test_5000_malformed_requests_get_problem_documents_and_change_nothing(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(1000)
    before = state(stack, tenant_id)
    requests = list(generate(SEED, COUNT, tenant_id, new_id()))
    answers = asyncio.run(ask_all(stack, requests))
    statuses = Counter(status for _, status, _, _ in answers)
    wrong = []
    for bad, status, sort, body in answers:
        try:
            document = json.loads(body)
            assert sort == PROBLEM
            assert 400 <= status < 500
            assert document["status"] == status
            assert document["type"].startswith("https://shieldx.io/problems/")
            assert document["title"]
            assert document["detail"]
        except (AssertionError, ValueError, KeyError):
            wrong.append((bad, status, sort, body[:200]))
    assert wrong[:5] == []
    assert len(answers) == COUNT
    assert {bad.kind for bad in requests} == {"field", "text", "path", "query", "method", "type", "key"}
    assert {400, 404, 405, 415, 422} <= set(statuses)
    assert len({(bad.method, bad.path, bad.headers, bad.body) for bad in requests}) > COUNT / 4
    assert state(stack, tenant_id) == before
    assert_books_balance(stack, tenant_id)


def test_bytes_that_are_no_http_get_a_problem_document_or_nothing(stack: Stack, api: Api) -> None:
    chance = random.Random(SEED)  # noqa: S311 - reproducible on purpose
    whole = b"GET /credits/balance/org-1 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    for number in range(300):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with socket.create_connection(("127.0.0.1", stack.service.http_port), timeout=15) as connection:
            connection.sendall(bytes(data) if number % 5 else chance.randbytes(200))
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while part := connection.recv(65536):
                said += part
        if said:
            head, _, body = said.partition(b"\r\n\r\n")
            assert 400 <= int(head[9:12]) < 500
            assert f"content-type: {PROBLEM}".encode() in head
            document, _ = json.JSONDecoder().raw_decode(body.decode())
            assert document["status"] == int(head[9:12])
    assert api.balance(api.tenant(1)).status_code == 200
