"""Many clients at once, on one process and on two."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg

from tests.integration.harness import Api, Stack, assert_books_balance, new_id


def _body(tenant_id: str, amount: int, key: str | None = None) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "amount": amount, "idempotency_key": key or new_id()}


async def test_200_concurrent_consumes_of_50_credits_succeed_50_times(api: Api, stack: Stack) -> None:
    tenant_id = await asyncio.to_thread(api.tenant, 50)
    answers = await api.consume_all([_body(tenant_id, 1) for _ in range(200)], connections=200)
    assert Counter(a.status_code for a in answers) == {200: 50, 402: 150}
    assert sorted(a.json()["balance"] for a in answers if a.status_code == 200) == list(range(50))
    assert (await asyncio.to_thread(api.balance, tenant_id)).json()["balance"] == 0
    await asyncio.to_thread(assert_books_balance, stack, tenant_id)


async def test_the_same_key_from_50_clients_charges_once(api: Api) -> None:
    tenant_id = await asyncio.to_thread(api.tenant, 1000)
    answers = await api.consume_all([_body(tenant_id, 7, key) for key in [new_id()] for _ in range(50)], connections=50)
    assert {a.status_code for a in answers} <= {200, 409}
    charged = [a for a in answers if a.status_code == 200]
    assert sum("idempotency-replayed" not in a.headers for a in charged) == 1
    assert len({a.content for a in charged}) == 1
    assert (await asyncio.to_thread(api.balance, tenant_id)).json()["balance"] == 993


async def test_two_processes_decide_as_one(api: Api, replica: Api, stack: Stack) -> None:
    """Every key is sent to both at once."""
    tenant_id = await asyncio.to_thread(api.tenant, 50)
    bodies = [_body(tenant_id, 1) for _ in range(100)]
    both = await asyncio.gather(api.consume_all(bodies), replica.consume_all(bodies))
    outcomes = [{a.status_code for a in pair} - {409} for pair in zip(*both, strict=True)]
    # both processes say the same of a key, or one of them that the other is at it
    assert all(len(o) == 1 for o in outcomes)
    assert Counter(o.pop() for o in outcomes) == {200: 50, 402: 50}
    await asyncio.to_thread(assert_books_balance, stack, tenant_id)


def test_a_request_whose_key_is_in_flight_is_409(stack: Stack, api: Api) -> None:
    """A lock on the account, taken behind the service's back, holds the first request up."""
    tenant_id = api.tenant(10)
    body = _body(tenant_id, 1)

    async def run() -> tuple[int, int, int]:
        blocker = await asyncpg.connect(stack.postgres.uri("credits"))
        try:
            async with blocker.transaction():
                await blocker.execute("SELECT FROM credits.accounts WHERE tenant_id = $1 FOR UPDATE", tenant_id)
                first = asyncio.create_task(api.consume_all([body]))
                await asyncio.sleep(0.5)
                second = await api.consume_all([body])
            return (await first)[0].status_code, second[0].status_code, (await api.consume_all([body]))[0].status_code
        finally:
            await blocker.close()

    assert asyncio.run(run()) == (200, 409, 200)
    assert api.balance(tenant_id).json()["balance"] == 9
