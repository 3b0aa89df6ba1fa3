"""Grants: which is spent first, and when it expires."""

import asyncio
import time
from typing import Any

import pytest

from tests.integration.harness import Api, Stack, assert_books_balance, in_time, let_pass, new_id, problem_of
from tests.integration.ledger.answers import balance, left

HOUR_S = 3600


def test_they_are_spent_by_priority_then_the_earliest_to_expire(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant()
    api.purchase(tenant_id, 10, source="never")
    api.purchase(tenant_id, 10, source="late", expires_at=in_time(hours=2))
    api.purchase(tenant_id, 10, source="soon", expires_at=in_time(hours=1))
    api.purchase(tenant_id, 10, source="first", priority=1)
    assert [lot["source"] for lot in api.grants(tenant_id)] == ["never", "late", "soon", "first"]
    for amount, expected in ((4, [10, 10, 10, 6]), (8, [10, 10, 8, 0]), (20, [8, 0, 0, 0]), (8, [0, 0, 0, 0])):
        assert api.consume(tenant_id, amount).status_code == 200
        assert left(api, tenant_id) == expected
    assert_books_balance(stack, tenant_id)


def test_the_order_is_that_of_the_moment_of_spending(api: Api) -> None:
    tenant_id = api.tenant()
    api.purchase(tenant_id, 10)
    api.consume(tenant_id, 4)
    api.purchase(tenant_id, 10, priority=0)
    api.consume(tenant_id, 5)
    assert left(api, tenant_id) == [6, 5]


def test_an_expired_grant_is_never_spendable(api: Api, replica: Api, stack: Stack) -> None:
    tenant_id = api.tenant(5)
    api.purchase(tenant_id, 10, expires_at=in_time(hours=1))
    api.consume(tenant_id, 3)
    let_pass(stack, tenant_id, HOUR_S)
    for one in (api, replica):
        assert problem_of(one.consume(tenant_id, 6), 402, "insufficient-credits")["available"] == 5
    assert replica.consume(tenant_id, 5).json()["balance"] == 0
    kinds = [(e["kind"], e["amount"]) for e in api.entries(tenant_id)]
    assert kinds == [("consume", 5), ("expire", 7), ("consume", 3), ("purchase", 10), ("purchase", 5)]
    assert_books_balance(stack, tenant_id)


def test_it_expires_for_readers_too_of_whom_nobody_spends(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(5)
    api.purchase(tenant_id, 10, expires_at=in_time(seconds=1.2))
    assert balance(api, tenant_id)["available"] == 15
    deadline = time.monotonic() + 1.2
    while balance(api, tenant_id)["available"] == 15:
        assert time.monotonic() < deadline + 2
        time.sleep(0.05)
    assert balance(api, tenant_id) == {
        "balance": 5,
        "reserved_funds": 0,
        "available": 5,
        "total_spent": 0,
        "total_purchased": 15,
    }
    assert_books_balance(stack, tenant_id)


def test_the_service_settles_what_is_due_by_itself(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant()
    api.purchase(tenant_id, 10, expires_at=in_time(hours=1))
    let_pass(stack, tenant_id, HOUR_S)
    deadline = time.monotonic() + 10
    while stack.sql("SELECT balance FROM credits.accounts WHERE tenant_id = $1", tenant_id)[0]["balance"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert_books_balance(stack, tenant_id)


@pytest.mark.parametrize(
    "more",
    [
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": 5},
        {"priority": -1},
        {"priority": 1001},
        {"priority": "1"},
    ],
)
def test_a_wish_that_cannot_be_granted_is_422(api: Api, more: dict[str, Any]) -> None:
    problem_of(api.purchase("org-123", 1, **more), 422, "validation-failed")


def test_the_same_key_for_another_expiry_or_priority_is_422(api: Api) -> None:
    tenant_id, key, at = api.tenant(), new_id(), in_time(hours=1)
    first = api.purchase(tenant_id, 5, key, expires_at=at, priority=3)
    again = api.purchase(tenant_id, 5, key, expires_at=at, priority=3)
    assert (first.status_code, again.content) == (200, first.content)
    problem_of(api.purchase(tenant_id, 5, key, expires_at=at), 422, "idempotency-key-reused")
    problem_of(api.purchase(tenant_id, 5, key, priority=3), 422, "idempotency-key-reused")


def test_concurrent_consumes_purchases_and_holds_lose_nothing(api: Api, replica: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)

    async def run() -> None:
        consumes = [{"tenant_id": tenant_id, "amount": 1, "idempotency_key": new_id()} for _ in range(150)]

        def others(one: Api) -> None:
            for n in range(10):
                assert one.purchase(tenant_id, 3, priority=n, expires_at=in_time(hours=1 + n)).status_code == 200
                held = one.reserve(tenant_id, 2)
                if held.status_code == 201 and n % 2:
                    assert one.commit(held.json()["reservation_id"], 1).status_code == 200

        await asyncio.gather(
            api.consume_all(consumes[:75]),
            replica.consume_all(consumes[75:]),
            asyncio.to_thread(others, api),
            asyncio.to_thread(others, replica),
        )

    asyncio.run(run())
    api.grants(tenant_id)
    assert_books_balance(stack, tenant_id)
    account = stack.sql("SELECT * FROM credits.accounts WHERE tenant_id = $1", tenant_id)[0]
    lots = stack.sql("SELECT sum(remaining) AS n FROM credits.grants WHERE tenant_id = $1", tenant_id)[0]["n"]
    assert lots == account["balance"] - account["reserved_funds"]
