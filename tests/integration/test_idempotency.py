import uuid
from datetime import timedelta

import pytest

from tests.integration.harness import Api, Stack, assert_books_balance, new_id, problem_of


def test_a_second_consume_with_the_same_key_charges_once(api: Api, stack: Stack) -> None:
    tenant_id, key = api.tenant(10), new_id()
    first, second = api.consume(tenant_id, 3, key), api.consume(tenant_id, 3, key.upper())
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert api.balance(tenant_id).json()["balance"] == 7
    assert_books_balance(stack, tenant_id)


def test_a_402_is_told_again_even_when_there_are_credits_now(api: Api) -> None:
    tenant_id, key = api.tenant(), new_id()
    first = api.consume(tenant_id, 3, key)
    api.purchase(tenant_id, 100)
    second = api.consume(tenant_id, 3, key)
    assert first.status_code == second.status_code == 402
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    assert api.balance(tenant_id).json()["balance"] == 100


def test_a_second_purchase_with_the_same_key_adds_once(api: Api) -> None:
    tenant_id, key = api.tenant(), new_id()
    first, second = api.purchase(tenant_id, 3, key), api.purchase(tenant_id, 3, key)
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    assert api.balance(tenant_id).json()["balance"] == 3


def test_the_same_key_with_another_body_is_422(api: Api) -> None:
    tenant_id, key = api.tenant(10), new_id()
    api.consume(tenant_id, 3, key)
    for answer in (
        api.consume(tenant_id, 4, key),
        api.consume(tenant_id, 3, key, description="other"),
        api.consume(tenant_id, 3, key, reference="other"),
        api.purchase(tenant_id, 3, key),
    ):
        problem_of(answer, 422, "idempotency-key-reused")
    assert api.consume(tenant_id, 3, key, description=None).headers["idempotency-replayed"] == "true"
    assert api.balance(tenant_id).json()["balance"] == 7


def test_tenants_do_not_share_keys(api: Api) -> None:
    key = new_id()
    for tenant_id in (api.tenant(5), api.tenant(5)):
        assert api.consume(tenant_id, 1, key).json()["balance"] == 4


def test_the_key_may_come_as_a_header(api: Api) -> None:
    tenant_id, key = api.tenant(10), new_id()
    body = {"tenant_id": tenant_id, "amount": 1}
    by_header = api.http.post("/credits/consume", json=body, headers={"Idempotency-Key": key})
    assert by_header.status_code == 200
    quoted = api.http.post("/credits/consume", json=body, headers={"Idempotency-Key": f'"{key}"'})
    assert quoted.headers["idempotency-replayed"] == "true"
    both = api.http.post(
        "/credits/consume", json={**body, "idempotency_key": key.upper()}, headers={"Idempotency-Key": key}
    )
    assert both.headers["idempotency-replayed"] == "true"


def test_two_different_keys_are_400(api: Api) -> None:
    body = {"tenant_id": "org-123", "amount": 1, "idempotency_key": new_id()}
    answer = api.http.post("/credits/consume", json=body, headers={"Idempotency-Key": new_id()})
    problem_of(answer, 400, "idempotency-keys-differ")


@pytest.mark.parametrize("call", ["/credits/consume", "/credits/purchase"])
def test_no_key_is_400(api: Api, call: str) -> None:
    for body in ({}, {"idempotency_key": None}):
        answer = api.http.post(call, json={"tenant_id": "org-123", "amount": 1, **body})
        problem_of(answer, 400, "idempotency-key-missing")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "abc",
        5,
        [],
        "6f1c2e9a-e844-11f1-8ddb-02fc00000001",  # version 1
        "00000000-0000-0000-0000-000000000000",
        "da1ad0423b5e4d078ddb5c1e7f0a9b32",
        "{12fd5a2e-4032-4f46-92ce-02fa9da4d557}",
        "856379a2-a78f-42bc-bfd9-9c909533a986\n",
    ],
)
def test_a_key_that_is_no_uuid_v4_is_400(api: Api, key: object) -> None:
    body = {"tenant_id": "org-123", "amount": 1, "idempotency_key": key}
    problem_of(api.http.post("/credits/consume", json=body), 400, "idempotency-key-invalid")


def test_a_key_counts_for_24_hours_and_then_is_new(api: Api, stack: Stack) -> None:
    tenant_id, key = api.tenant(10), new_id()
    api.consume(tenant_id, 3, key)
    # the record of a request of yesterday
    stack.sql("UPDATE credits.idempotency SET day = day - 1 WHERE idempotency_key = $1", uuid.UUID(key))
    set_age = "UPDATE credits.idempotency SET created_at = now() - $2::interval WHERE idempotency_key = $1"
    stack.sql(set_age, uuid.UUID(key), timedelta(hours=23, minutes=59))
    assert api.consume(tenant_id, 3, key).headers["idempotency-replayed"] == "true"
    stack.sql(set_age, uuid.UUID(key), timedelta(hours=24, seconds=1))
    assert "idempotency-replayed" not in api.consume(tenant_id, 3, key).headers
    assert api.consume(tenant_id, 3, key).headers["idempotency-replayed"] == "true"
    assert api.balance(tenant_id).json()["balance"] == 4


def test_a_key_is_found_when_the_databases_clock_went_back_over_midnight(api: Api, stack: Stack) -> None:
    tenant_id, consumed, purchased = api.tenant(10), new_id(), new_id()
    api.consume(tenant_id, 3, consumed)
    api.purchase(tenant_id, 5, purchased)
    # the records of requests of tomorrow, as a host has them whose clock is behind
    keys = [uuid.UUID(consumed), uuid.UUID(purchased)]
    stack.sql("UPDATE credits.idempotency SET day = day + 1 WHERE idempotency_key = ANY ($1)", keys)
    assert api.consume(tenant_id, 3, consumed).headers["idempotency-replayed"] == "true"
    assert api.purchase(tenant_id, 5, purchased).headers["idempotency-replayed"] == "true"
    assert api.balance(tenant_id).json()["balance"] == 12
    assert_books_balance(stack, tenant_id)
