"""The Python client on the real service, also where its connection is cut in the middle of an answer."""

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from shieldx_client import (
    ApiError,
    AsyncCreditsClient,
    CreditsClient,
    InsufficientCreditsError,
    NoAnswerError,
    RetryPolicy,
)
from tests.integration.harness import Api, Stack, assert_books_balance, new_id


class Cutting:
    """A relay to the service that cuts the first `cuts` answers after some bytes: what was asked has been done."""

    def __init__(self, port: int, cuts: int) -> None:
        self._port = port
        self.cuts = cuts
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(connection,), daemon=True).start()

    def _relay(self, connection: socket.socket) -> None:
        with connection, socket.create_connection(("127.0.0.1", self._port), timeout=10) as service:
            while asked := _message(connection):
                self.requests.append(asked)
                service.sendall(asked)
                answer = service.recv(65536)
                if self.cuts:
                    self.cuts -= 1
                    connection.sendall(answer[:40])
                    return
                connection.sendall(answer)

    def close(self) -> None:
        self._listener.close()


def _message(connection: socket.socket) -> bytes:
    """One whole request, or nothing where the connection was closed."""
    said = b""
    while True:
        head, end, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if end and len(body) >= (int(length[1]) if length else 0):
            return said
        part = connection.recv(65536)
        if not part:
            return b""
        said += part


@pytest.fixture
def client(stack: Stack) -> Iterator[CreditsClient]:
    with CreditsClient(stack.service.url, stack.admin_key) as made:
        yield made


def test_every_call_gives_its_typed_result(stack: Stack, api: Api, client: CreditsClient) -> None:
    tenant_id = api.tenant()
    assert client.purchase(tenant_id, 100, source="card").balance == 100
    taken = client.consume(tenant_id, 30, description="a call", reference="r-1")
    assert (taken.balance, taken.replayed) == (70, False)
    again = client.consume(tenant_id, 30, description="a call", reference="r-1", idempotency_key=taken.idempotency_key)
    assert (again.transaction_id, again.replayed) == (taken.transaction_id, True)
    assert client.refund(taken.transaction_id, 10).balance == 80
    held = client.reserve(tenant_id, 20, expires_in_s=60)
    assert (held.amount, held.available) == (20, 60)
    assert client.commit(held.reservation_id, 5).balance == 75
    other = client.reserve(tenant_id, 20, expires_in_s=60)
    client.cancel(other.reservation_id)
    balance = client.balance(tenant_id)
    assert (balance.tenant_id, balance.balance, balance.available) == (tenant_id, 75, 75)
    assert_books_balance(stack, tenant_id)


def test_refusals_are_errors_that_can_be_told_apart(api: Api, client: CreditsClient) -> None:
    tenant_id = api.tenant(5)
    with pytest.raises(InsufficientCreditsError) as insufficient:
        client.consume(tenant_id, 6)
    assert (insufficient.value.available, insufficient.value.required) == (5, 6)
    with pytest.raises(ApiError) as unknown:
        client.balance("no-such-tenant")
    assert (unknown.value.status, unknown.value.slug) == (404, "unknown-tenant")
    with pytest.raises(ApiError) as invalid:
        client.consume(tenant_id, 0)
    assert invalid.value.status == 422


def test_an_answer_that_was_cut_off_is_found_by_its_key_and_charges_once(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    relay = Cutting(stack.service.http_port, cuts=3)
    try:
        with CreditsClient(relay.url, stack.admin_key) as client:
            taken = client.consume(tenant_id, 7)
    finally:
        relay.close()
    assert (taken.balance, taken.replayed) == (93, True)
    assert len(relay.requests) == 4
    assert all(taken.idempotency_key.encode() in request for request in relay.requests)
    assert api.balance(tenant_id).json()["balance"] == 93
    assert_books_balance(stack, tenant_id)


def test_it_gives_up_after_its_tries_and_names_the_key(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    relay = Cutting(stack.service.http_port, cuts=99)
    key = new_id()
    try:
        retry = RetryPolicy(tries=3, first_pause_s=0.01)
        with CreditsClient(relay.url, stack.admin_key, retry=retry) as client, pytest.raises(NoAnswerError) as caught:
            client.consume(tenant_id, 7, idempotency_key=key)
    finally:
        relay.close()
    assert (caught.value.idempotency_key, len(relay.requests)) == (key, 3)
    assert api.balance(tenant_id).json()["balance"] == 93


async def test_awaited_it_does_the_same(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    relay = Cutting(stack.service.http_port, cuts=1)
    try:
        async with AsyncCreditsClient(relay.url, stack.admin_key) as client:
            taken = await client.consume(tenant_id, 7)
            assert (taken.balance, taken.replayed) == (93, True)
            with pytest.raises(InsufficientCreditsError):
                await client.consume(tenant_id, 94)
            assert (await client.balance(tenant_id)).balance == 93
    finally:
        relay.close()


def test_beyond_the_rate_limit_it_waits_as_long_as_it_is_told_or_gives_up(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    body = {"tenant_id": tenant_id, "scopes": ["read"], "rate_limit": 1}
    key = api.http.post("/credits/keys", json=body).json()["key"]
    retry = RetryPolicy(longest_pause_s=0.5)
    with CreditsClient(stack.service.url, key, retry=retry) as client:
        client.balance(tenant_id)
        began = time.monotonic()
        with pytest.raises(ApiError) as caught:
            client.balance(tenant_id)
    assert caught.value.status == 429
    assert time.monotonic() - began < 5


def test_pauses_have_full_jitter_and_a_bound() -> None:
    policy = RetryPolicy(tries=9, first_pause_s=1, longest_pause_s=4)
    for tries, bound in ((1, 1), (2, 2), (3, 4), (8, 4)):
        pauses = [policy.pause_s(tries) or 0 for _ in range(300)]
        assert 0 <= min(pauses) < bound * 0.2
        assert bound * 0.8 < max(pauses) <= bound
    assert policy.pause_s(9) is None
    assert policy.pause_s(1, retry_after_s=5) is None
