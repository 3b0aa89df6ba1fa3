"""History: transactions, grants and balances of any time."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.harness import Api, in_time, new_tenant_id, problem_of
from tests.integration.ledger.answers import balance


def test_it_is_told_page_by_page_the_newest_first(api: Api) -> None:
    tenant_id = api.tenant(100)
    for n in range(7):
        api.consume(tenant_id, 1, reference=f"r{n}")
    found, cursor = [], None
    while True:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = api.http.get(f"/credits/transactions/{tenant_id}", params=query).json()
        found += page["transactions"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        # what comes in between does not move the pages
        api.consume(tenant_id, 1)
    assert [e["reference"] for e in found] == ["r6", "r5", "r4", "r3", "r2", "r1", "r0", None]
    assert [e["version"] for e in found] == list(range(8, 0, -1))


def test_it_can_be_narrowed_by_kind_and_time(api: Api) -> None:
    tenant_id = api.tenant(100)
    api.consume(tenant_id, 1)
    middle = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    api.reserve(tenant_id, 1)
    api.consume(tenant_id, 2)
    assert [e["amount"] for e in api.entries(tenant_id, kind="consume")] == [2, 1]
    assert [e["kind"] for e in api.entries(tenant_id, kind=["consume", "reserve"], since=middle)] == [
        "consume",
        "reserve",
    ]
    assert [e["kind"] for e in api.entries(tenant_id, until=middle)] == ["consume", "purchase"]


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"cursor": "4pyT"}, {"kind": "x"}, {"since": "yesterday"}],
)
def test_a_wrong_query_is_422(api: Api, query: dict[str, Any]) -> None:
    tenant_id = api.tenant()
    answer = api.http.get(f"/credits/transactions/{tenant_id}", params=query)
    problem_of(answer, 422, "validation-failed")


def test_grants_are_told_page_by_page(api: Api) -> None:
    tenant_id = api.tenant()
    for amount in (1, 2, 3):
        api.purchase(tenant_id, amount)
    first = api.http.get(f"/credits/grants/{tenant_id}", params={"limit": 2}).json()
    rest = api.http.get(f"/credits/grants/{tenant_id}", params={"cursor": first["next_cursor"]}).json()
    assert [lot["amount"] for lot in first["grants"] + rest["grants"]] == [1, 2, 3]
    assert rest["next_cursor"] is None
    problem_of(api.http.get(f"/credits/grants/{tenant_id}", params={"cursor": "x"}), 422, "validation-failed")


def test_a_balance_can_be_asked_for_as_of_any_time(api: Api) -> None:
    tenant_id = api.tenant()
    moments: list[tuple[str, dict[str, int]]] = []

    def remember() -> None:
        time.sleep(0.005)
        moments.append((datetime.now(UTC).isoformat(), balance(api, tenant_id)))
        time.sleep(0.005)

    remember()
    api.purchase(tenant_id, 100)
    remember()
    taken = api.consume(tenant_id, 30).json()["transaction_id"]
    remember()
    held = api.reserve(tenant_id, 20).json()["reservation_id"]
    remember()
    api.consume(tenant_id, 1)
    remember()
    api.commit(held, 5)
    remember()
    api.refund(taken, 10)
    remember()
    api.consume(tenant_id, 2)
    remember()
    for moment, expected in [*moments, (in_time(hours=1), moments[-1][1])]:
        told = api.http.get(f"/credits/balance/{tenant_id}", params={"at": moment}).json()
        assert {k: v for k, v in told.items() if k != "tenant_id"} == expected
    problem_of(api.http.get(f"/credits/balance/{tenant_id}", params={"at": "now"}), 422, "validation-failed")


def test_nobody_elses_history_is_told(api: Api) -> None:
    mine, other, nobody = api.tenant(), api.tenant(), new_tenant_id()
    with api.with_key(api.issue(mine, "read")) as tenant:
        for call in ("grants", "transactions"):
            assert tenant.http.get(f"/credits/{call}/{mine}").status_code == 200
            for unknown in (other, nobody):
                problem_of(tenant.http.get(f"/credits/{call}/{unknown}"), 404, "unknown-tenant")
        problem_of(tenant.http.get(f"/credits/balance/{other}?at=2020-01-01T00:00:00Z"), 404, "unknown-tenant")


def test_ids_of_transactions_grow_with_time(api: Api) -> None:
    tenant_id = api.tenant(10)
    first, second = api.consume(tenant_id, 1), api.purchase(tenant_id, 1)
    ids = [uuid.UUID(a.json()["transaction_id"]) for a in (first, second)]
    assert [i.version for i in ids] == [7, 7]
    assert ids[0].int >> 80 <= ids[1].int >> 80
