"""Refunds: never more than was taken, and to the grants that it came from."""

import asyncio
from collections import Counter

from tests.integration.harness import Api, Stack, assert_books_balance, in_time, let_pass, new_id, problem_of
from tests.integration.ledger.answers import balance, left

HOUR_S = 3600


def test_a_refund_gives_back_part_by_part_and_never_more_than_was_taken(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)
    taken = api.consume(tenant_id, 60).json()["transaction_id"]
    answer = api.refund(taken, 40)
    assert answer.status_code == 200
    assert answer.json()["balance"] == 80
    assert answer.json()["message"] == "Successfully refunded 40 credits"
    assert problem_of(api.refund(taken, 21), 422, "refund-limit")["limit"] == 20
    assert api.refund(taken, 20).json()["balance"] == 100
    assert problem_of(api.refund(taken, 1), 422, "refund-limit")["limit"] == 0
    assert balance(api, tenant_id) == {
        "balance": 100,
        "reserved_funds": 0,
        "available": 100,
        "total_spent": 0,
        "total_purchased": 100,
    }
    assert_books_balance(stack, tenant_id)


def test_it_goes_back_to_the_grants_it_came_from_the_last_first(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant()
    api.purchase(tenant_id, 10, priority=1)
    api.purchase(tenant_id, 10, priority=2)
    taken = api.consume(tenant_id, 15).json()["transaction_id"]
    assert left(api, tenant_id) == [0, 5]
    api.refund(taken, 4)
    assert left(api, tenant_id) == [0, 9]
    api.refund(taken, 4)
    assert left(api, tenant_id) == [3, 10]
    assert_books_balance(stack, tenant_id)


def test_what_came_from_a_grant_that_has_expired_since_is_not_spendable_again(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant()
    api.purchase(tenant_id, 10, expires_at=in_time(hours=1))
    api.purchase(tenant_id, 10)
    taken = api.consume(tenant_id, 15).json()["transaction_id"]
    api.grants(tenant_id)
    let_pass(stack, tenant_id, HOUR_S)
    assert api.refund(taken, 15).json()["balance"] == 10
    assert balance(api, tenant_id)["total_spent"] == 0
    assert [e["kind"] for e in api.entries(tenant_id)][:2] == ["expire", "refund"]
    assert_books_balance(stack, tenant_id)


def test_the_same_key_refunds_once(api: Api) -> None:
    tenant_id, key = api.tenant(10), new_id()
    taken = api.consume(tenant_id, 10).json()["transaction_id"]
    first, again = api.refund(taken, 4, key), api.refund(taken, 4, key)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    problem_of(api.refund(taken, 5, key), 422, "idempotency-key-reused")
    assert api.balance(tenant_id).json()["balance"] == 4


def test_only_a_consume_or_commit_of_ones_own_can_be_refunded(api: Api) -> None:
    mine, other = api.tenant(10), api.tenant(10)
    bought = api.purchase(mine, 5).json()["transaction_id"]
    theirs = api.consume(other, 5).json()["transaction_id"]
    problem_of(api.refund(bought, 1), 404, "unknown-transaction")
    problem_of(api.refund(new_id(), 1), 404, "unknown-transaction")
    with api.with_key(api.issue(mine, "consume")) as tenant:
        problem_of(tenant.refund(theirs, 1), 404, "unknown-transaction")
    for wrong in ("", "x", 5, None, bought.replace("-", "")):
        problem_of(api.refund(wrong, 1), 422, "validation-failed")


def test_100_refunds_at_once_give_back_no_more_than_was_taken(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(50)
    taken = api.consume(tenant_id, 50).json()["transaction_id"]

    async def run() -> list[int]:
        answers = await asyncio.gather(*[asyncio.to_thread(api.refund, taken, 3) for _ in range(40)])
        return [a.status_code for a in answers]

    assert Counter(asyncio.run(run())) == {200: 16, 422: 24}
    assert api.balance(tenant_id).json()["balance"] == 48
    assert_books_balance(stack, tenant_id)
