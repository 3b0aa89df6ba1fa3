"""Holds: reserve, commit, cancel, and what expires by itself."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.harness import Api, Stack, assert_books_balance, in_time, let_pass, new_id, problem_of
from tests.integration.ledger.answers import balance


def test_held_credits_cannot_be_consumed_until_the_hold_is_cancelled(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)
    answer = api.reserve(tenant_id, 70)
    assert answer.status_code == 201
    body = answer.json()
    expires_in = datetime.fromisoformat(body.pop("expires_at")) - datetime.now(UTC)
    assert timedelta(seconds=590) < expires_in <= timedelta(seconds=600)
    reservation_id = body.pop("reservation_id")
    assert body == {"tenant_id": tenant_id, "amount": 70, "balance": 100, "available": 30}
    problem_of(api.consume(tenant_id, 31), 402, "insufficient-credits")
    problem_of(api.reserve(tenant_id, 31), 402, "insufficient-credits")
    assert balance(api, tenant_id)["reserved_funds"] == 70
    assert api.cancel(reservation_id).status_code == 200
    assert balance(api, tenant_id)["available"] == 100
    assert api.consume(tenant_id, 100).status_code == 200
    assert_books_balance(stack, tenant_id)


def test_a_commit_takes_a_part_and_frees_the_rest(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)
    reservation_id = api.reserve(tenant_id, 70).json()["reservation_id"]
    assert problem_of(api.commit(reservation_id, 71), 422, "hold-limit")["limit"] == 70
    answer = api.commit(reservation_id, 50)
    assert (answer.status_code, answer.json()["balance"]) == (200, 50)
    assert balance(api, tenant_id) == {
        "balance": 50,
        "reserved_funds": 0,
        "available": 50,
        "total_spent": 50,
        "total_purchased": 100,
    }
    # and may be refunded like a consume
    assert api.refund(answer.json()["transaction_id"], 50).json()["balance"] == 100
    assert_books_balance(stack, tenant_id)


def test_a_hold_is_closed_once(api: Api) -> None:
    tenant_id = api.tenant(100)
    committed = api.reserve(tenant_id, 10).json()["reservation_id"]
    cancelled = api.reserve(tenant_id, 10).json()["reservation_id"]
    key = new_id()
    first = api.commit(committed, 10, key)
    api.cancel(cancelled)
    assert api.commit(committed, 10, key).content == first.content
    for answer in (api.commit(committed, 10), api.cancel(committed)):
        assert problem_of(answer, 409, "reservation-closed")["state"] == "committed"
    assert problem_of(api.commit(cancelled, 1), 409, "reservation-closed")["state"] == "cancelled"
    problem_of(api.commit(new_id(), 1), 404, "unknown-reservation")
    problem_of(api.cancel("x"), 422, "validation-failed")
    assert balance(api, tenant_id)["total_spent"] == 10


def test_another_tenants_hold_is_an_unknown_one(api: Api) -> None:
    mine, other = api.tenant(10), api.tenant(10)
    theirs = api.reserve(other, 5).json()["reservation_id"]
    with api.with_key(api.issue(mine, "consume")) as tenant:
        problem_of(tenant.commit(theirs, 1), 404, "unknown-reservation")
        problem_of(tenant.cancel(theirs), 404, "unknown-reservation")
        problem_of(tenant.reserve(other, 1), 404, "unknown-tenant")


def test_a_hold_expires_by_itself(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)
    reservation_id = api.reserve(tenant_id, 70, 1).json()["reservation_id"]
    time.sleep(1.05)
    assert api.consume(tenant_id, 100).status_code == 200
    assert problem_of(api.commit(reservation_id, 1), 409, "reservation-closed")["state"] == "expired"
    assert [e["kind"] for e in api.entries(tenant_id)] == ["consume", "release", "reserve", "purchase"]
    assert_books_balance(stack, tenant_id)


def test_a_hold_never_outlives_the_grants_that_it_holds(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(10)
    at = in_time(seconds=300)
    api.purchase(tenant_id, 10, expires_at=at, priority=1)
    held = api.reserve(tenant_id, 15, 600).json()
    assert datetime.fromisoformat(held["expires_at"]) == datetime.fromisoformat(at)
    let_pass(stack, tenant_id, 300)
    assert problem_of(api.commit(held["reservation_id"], 1), 409, "reservation-closed")["state"] == "expired"
    assert problem_of(api.consume(tenant_id, 11), 402, "insufficient-credits")["available"] == 10
    assert_books_balance(stack, tenant_id)


def test_a_reserve_told_again_has_the_same_answer(api: Api) -> None:
    tenant_id, key = api.tenant(10), new_id()
    first, again = api.reserve(tenant_id, 5, key=key), api.reserve(tenant_id, 5, key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    problem_of(api.reserve(tenant_id, 5, 601, key=key), 422, "idempotency-key-reused")
    assert balance(api, tenant_id)["reserved_funds"] == 5


@pytest.mark.parametrize("expires_in_s", [0, -1, 30 * 24 * 3600 + 1, 1.5, "60", None])
def test_a_lifetime_out_of_range_is_422(api: Api, expires_in_s: Any) -> None:
    problem_of(api.reserve("org-123", 1, expires_in_s), 422, "validation-failed")
