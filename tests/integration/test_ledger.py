"""Grants, refunds, holds, batches and history."""

import asyncio
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.harness import (
    Api,
    Stack,
    assert_books_balance,
    in_time,
    let_pass,
    new_id,
    new_tenant_id,
    problem_of,
)

HOUR_S = 3600


def left(api: Api, tenant_id: str) -> list[int]:
    return [lot["remaining"] for lot in api.grants(tenant_id)]


def balance(api: Api, tenant_id: str) -> dict[str, int]:
    body: dict[str, int] = api.balance(tenant_id).json()
    return {k: v for k, v in body.items() if k != "tenant_id"}


class TestGrants:
    def test_they_are_spent_by_priority_then_the_earliest_to_expire(self, api: Api, stack: Stack) -> None:
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

    def test_the_order_is_that_of_the_moment_of_spending(self, api: Api) -> None:
        tenant_id = api.tenant()
        api.purchase(tenant_id, 10)
        api.consume(tenant_id, 4)
        api.purchase(tenant_id, 10, priority=0)
        api.consume(tenant_id, 5)
        assert left(api, tenant_id) == [6, 5]

    def test_an_expired_grant_is_never_spendable(self, api: Api, replica: Api, stack: Stack) -> None:
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

    def test_it_expires_for_readers_too_of_whom_nobody_spends(self, api: Api, stack: Stack) -> None:
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

    def test_the_service_settles_what_is_due_by_itself(self, api: Api, stack: Stack) -> None:
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
    def test_a_wish_that_cannot_be_granted_is_422(self, api: Api, more: dict[str, Any]) -> None:
        problem_of(api.purchase("org-123", 1, **more), 422, "validation-failed")

    def test_the_same_key_for_another_expiry_or_priority_is_422(self, api: Api) -> None:
        tenant_id, key, at = api.tenant(), new_id(), in_time(hours=1)
        first = api.purchase(tenant_id, 5, key, expires_at=at, priority=3)
        again = api.purchase(tenant_id, 5, key, expires_at=at, priority=3)
        assert (first.status_code, again.content) == (200, first.content)
        problem_of(api.purchase(tenant_id, 5, key, expires_at=at), 422, "idempotency-key-reused")
        problem_of(api.purchase(tenant_id, 5, key, priority=3), 422, "idempotency-key-reused")

    def test_concurrent_consumes_purchases_and_holds_lose_nothing(self, api: Api, replica: Api, stack: Stack) -> None:
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


class TestRefunds:
    def test_a_refund_gives_back_part_by_part_and_never_more_than_was_taken(self, api: Api, stack: Stack) -> None:
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

    def test_it_goes_back_to_the_grants_it_came_from_the_last_first(self, api: Api, stack: Stack) -> None:
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

    def test_what_came_from_a_grant_that_has_expired_since_is_not_spendable_again(self, api: Api, stack: Stack) -> None:
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

    def test_the_same_key_refunds_once(self, api: Api) -> None:
        tenant_id, key = api.tenant(10), new_id()
        taken = api.consume(tenant_id, 10).json()["transaction_id"]
        first, again = api.refund(taken, 4, key), api.refund(taken, 4, key)
        assert first.content == again.content
        assert again.headers["idempotency-replayed"] == "true"
        problem_of(api.refund(taken, 5, key), 422, "idempotency-key-reused")
        assert api.balance(tenant_id).json()["balance"] == 4

    def test_only_a_consume_or_commit_of_ones_own_can_be_refunded(self, api: Api) -> None:
        mine, other = api.tenant(10), api.tenant(10)
        bought = api.purchase(mine, 5).json()["transaction_id"]
        theirs = api.consume(other, 5).json()["transaction_id"]
        problem_of(api.refund(bought, 1), 404, "unknown-transaction")
        problem_of(api.refund(new_id(), 1), 404, "unknown-transaction")
        with api.with_key(api.issue(mine, "consume")) as tenant:
            problem_of(tenant.refund(theirs, 1), 404, "unknown-transaction")
        for wrong in ("", "x", 5, None, bought.replace("-", "")):
            problem_of(api.refund(wrong, 1), 422, "validation-failed")

    def test_100_refunds_at_once_give_back_no_more_than_was_taken(self, api: Api, stack: Stack) -> None:
        tenant_id = api.tenant(50)
        taken = api.consume(tenant_id, 50).json()["transaction_id"]

        async def run() -> list[int]:
            answers = await asyncio.gather(*[asyncio.to_thread(api.refund, taken, 3) for _ in range(40)])
            return [a.status_code for a in answers]

        assert Counter(asyncio.run(run())) == {200: 16, 422: 24}
        assert api.balance(tenant_id).json()["balance"] == 48
        assert_books_balance(stack, tenant_id)


class TestHolds:
    def test_held_credits_cannot_be_consumed_until_the_hold_is_cancelled(self, api: Api, stack: Stack) -> None:
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

    def test_a_commit_takes_a_part_and_frees_the_rest(self, api: Api, stack: Stack) -> None:
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

    def test_a_hold_is_closed_once(self, api: Api) -> None:
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

    def test_another_tenants_hold_is_an_unknown_one(self, api: Api) -> None:
        mine, other = api.tenant(10), api.tenant(10)
        theirs = api.reserve(other, 5).json()["reservation_id"]
        with api.with_key(api.issue(mine, "consume")) as tenant:
            problem_of(tenant.commit(theirs, 1), 404, "unknown-reservation")
            problem_of(tenant.cancel(theirs), 404, "unknown-reservation")
            problem_of(tenant.reserve(other, 1), 404, "unknown-tenant")

    def test_a_hold_expires_by_itself(self, api: Api, stack: Stack) -> None:
        tenant_id = api.tenant(100)
        reservation_id = api.reserve(tenant_id, 70, 1).json()["reservation_id"]
        time.sleep(1.05)
        assert api.consume(tenant_id, 100).status_code == 200
        assert problem_of(api.commit(reservation_id, 1), 409, "reservation-closed")["state"] == "expired"
        assert [e["kind"] for e in api.entries(tenant_id)] == ["consume", "release", "reserve", "purchase"]
        assert_books_balance(stack, tenant_id)

    def test_a_hold_never_outlives_the_grants_that_it_holds(self, api: Api, stack: Stack) -> None:
        tenant_id = api.tenant(10)
        at = in_time(seconds=300)
        api.purchase(tenant_id, 10, expires_at=at, priority=1)
        held = api.reserve(tenant_id, 15, 600).json()
        assert datetime.fromisoformat(held["expires_at"]) == datetime.fromisoformat(at)
        let_pass(stack, tenant_id, 300)
        assert problem_of(api.commit(held["reservation_id"], 1), 409, "reservation-closed")["state"] == "expired"
        assert problem_of(api.consume(tenant_id, 11), 402, "insufficient-credits")["available"] == 10
        assert_books_balance(stack, tenant_id)

    def test_a_reserve_told_again_has_the_same_answer(self, api: Api) -> None:
        tenant_id, key = api.tenant(10), new_id()
        first, again = api.reserve(tenant_id, 5, key=key), api.reserve(tenant_id, 5, key=key)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert again.headers["idempotency-replayed"] == "true"
        problem_of(api.reserve(tenant_id, 5, 601, key=key), 422, "idempotency-key-reused")
        assert balance(api, tenant_id)["reserved_funds"] == 5

    @pytest.mark.parametrize("expires_in_s", [0, -1, 30 * 24 * 3600 + 1, 1.5, "60", None])
    def test_a_lifetime_out_of_range_is_422(self, api: Api, expires_in_s: Any) -> None:
        problem_of(api.reserve("org-123", 1, expires_in_s), 422, "validation-failed")


class TestBatches:
    def batch(self, api: Api, items: list[Any]) -> list[dict[str, Any]]:
        answer = api.http.post("/credits/consume/batch", json={"items": items})
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def item(self, tenant_id: str, amount: Any, **more: Any) -> dict[str, Any]:
        return {"tenant_id": tenant_id, "amount": amount, "idempotency_key": new_id(), **more}

    def test_1000_items_each_have_their_result_in_their_order(self, api: Api, stack: Stack) -> None:
        tenants = [api.tenant(120), api.tenant(1000)]
        items = [self.item(tenants[n % 2], 1) for n in range(1000)]
        results = self.batch(api, items)
        assert [r["status"] for r in results[1::2]] == [200] * 500
        assert [r["status"] for r in results[0::2]] == [200] * 120 + [402] * 380
        assert [r["balance"] for r in results[0:240:2]] == list(range(119, -1, -1))
        again = self.batch(api, items)
        assert [r.get("transaction_id") for r in again] == [r.get("transaction_id") for r in results]
        assert all(r["replayed"] for r in again if r["status"] == 200)
        for tenant_id in tenants:
            assert_books_balance(stack, tenant_id)

    def test_each_item_keeps_the_rules_of_a_consume(self, api: Api) -> None:
        tenant_id = api.tenant(10)
        twice = self.item(tenant_id, 1)
        results = self.batch(
            api,
            [
                self.item(tenant_id, 3),
                self.item(tenant_id, 0),
                self.item(new_tenant_id(), 1),
                self.item(tenant_id, 1, idempotency_key=None),
                self.item(tenant_id, 1, idempotency_key="x"),
                self.item(tenant_id, 1, colour="blue"),
                "no object",
                self.item(tenant_id, 8),
                twice,
                twice,
            ],
        )
        assert [r["status"] for r in results] == [200, 422, 404, 400, 400, 422, 422, 402, 200, 409]
        assert results[1]["errors"][0]["field"] == "amount"
        assert results[7]["available"] == 7
        assert api.balance(tenant_id).json()["balance"] == 6

    def test_a_tenants_key_spends_for_itself_alone(self, api: Api) -> None:
        mine, other = api.tenant(10), api.tenant(10)
        with api.with_key(api.issue(mine, "consume")) as tenant:
            results = self.batch(tenant, [self.item(mine, 1), self.item(other, 1)])
        assert [r["status"] for r in results] == [200, 404]
        assert api.balance(other).json()["balance"] == 10

    @pytest.mark.parametrize("items", [[], "x", None, [{}] * 1001])
    def test_no_item_or_too_many_are_422(self, api: Api, items: Any) -> None:
        problem_of(api.http.post("/credits/consume/batch", json={"items": items}), 422, "validation-failed")


class TestHistory:
    def test_it_is_told_page_by_page_the_newest_first(self, api: Api) -> None:
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

    def test_it_can_be_narrowed_by_kind_and_time(self, api: Api) -> None:
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
    def test_a_wrong_query_is_422(self, api: Api, query: dict[str, Any]) -> None:
        tenant_id = api.tenant()
        answer = api.http.get(f"/credits/transactions/{tenant_id}", params=query)
        problem_of(answer, 422, "validation-failed")

    def test_grants_are_told_page_by_page(self, api: Api) -> None:
        tenant_id = api.tenant()
        for amount in (1, 2, 3):
            api.purchase(tenant_id, amount)
        first = api.http.get(f"/credits/grants/{tenant_id}", params={"limit": 2}).json()
        rest = api.http.get(f"/credits/grants/{tenant_id}", params={"cursor": first["next_cursor"]}).json()
        assert [lot["amount"] for lot in first["grants"] + rest["grants"]] == [1, 2, 3]
        assert rest["next_cursor"] is None
        problem_of(api.http.get(f"/credits/grants/{tenant_id}", params={"cursor": "x"}), 422, "validation-failed")

    def test_a_balance_can_be_asked_for_as_of_any_time(self, api: Api) -> None:
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

    def test_nobody_elses_history_is_told(self, api: Api) -> None:
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
