"""Batches: each item has the result that it would have had alone."""

from typing import Any

import pytest

from tests.integration.harness import Api, Stack, assert_books_balance, new_id, new_tenant_id, problem_of


def batch(api: Api, items: list[Any]) -> list[dict[str, Any]]:
    answer = api.http.post("/credits/consume/batch", json={"items": items})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def item(tenant_id: str, amount: Any, **more: Any) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "amount": amount, "idempotency_key": new_id(), **more}


def test_1000_items_each_have_their_result_in_their_order(api: Api, stack: Stack) -> None:
    tenants = [api.tenant(120), api.tenant(1000)]
    items = [item(tenants[n % 2], 1) for n in range(1000)]
    results = batch(api, items)
    assert [r["status"] for r in results[1::2]] == [200] * 500
    assert [r["status"] for r in results[0::2]] == [200] * 120 + [402] * 380
    assert [r["balance"] for r in results[0:240:2]] == list(range(119, -1, -1))
    again = batch(api, items)
    assert [r.get("transaction_id") for r in again] == [r.get("transaction_id") for r in results]
    assert all(r["replayed"] for r in again if r["status"] == 200)
    for tenant_id in tenants:
        assert_books_balance(stack, tenant_id)


def test_each_item_keeps_the_rules_of_a_consume(api: Api) -> None:
    tenant_id = api.tenant(10)
    twice = item(tenant_id, 1)
    results = batch(
        api,
        [
            item(tenant_id, 3),
            item(tenant_id, 0),
            item(new_tenant_id(), 1),
            item(tenant_id, 1, idempotency_key=None),
            item(tenant_id, 1, idempotency_key="x"),
            item(tenant_id, 1, colour="blue"),
            "no object",
            item(tenant_id, 8),
            twice,
            twice,
            {**twice, "amount": 2},
        ],
    )
    assert [r["status"] for r in results] == [200, 422, 404, 400, 400, 422, 422, 402, 200, 200, 422]
    assert "send a new UUID v4 in each item" in results[3]["detail"]
    assert [r["replayed"] for r in results[8:10]] == [False, True]
    assert results[8]["transaction_id"] == results[9]["transaction_id"]
    assert results[1]["errors"][0]["field"] == "amount"
    assert results[7]["available"] == 7
    assert api.balance(tenant_id).json()["balance"] == 6


def test_a_tenants_key_spends_for_itself_alone(api: Api) -> None:
    mine, other = api.tenant(10), api.tenant(10)
    with api.with_key(api.issue(mine, "consume")) as tenant:
        results = batch(tenant, [item(mine, 1), item(other, 1)])
    assert [r["status"] for r in results] == [200, 404]
    assert api.balance(other).json()["balance"] == 10


@pytest.mark.parametrize("items", [[], "x", None, [{}] * 1001])
def test_no_item_or_too_many_are_422(api: Api, items: Any) -> None:
    problem_of(api.http.post("/credits/consume/batch", json={"items": items}), 422, "validation-failed")
