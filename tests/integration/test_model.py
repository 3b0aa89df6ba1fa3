"""The service against a plain model of it, over sequences of calls that Hypothesis makes up and shortens."""

import uuid
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.integration.harness import Api, Stack, assert_books_balance, new_tenant_id

MAX = 2**53 - 1
AMOUNTS = st.one_of(st.integers(1, 20), st.sampled_from([MAX - 10, MAX]))
KEYS = st.integers(0, 5)


class Model:
    """What a ledger is, in a few obvious lines."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, int]] = {}
        self.answers: dict[tuple[str, int], tuple[tuple[Any, ...], tuple[int, int]]] = {}

    def move(self, kind: str, tenant_id: str, amount: int, key: int) -> tuple[int, int, bool]:
        """Status, balance (200) or available (402), and whether it is replayed."""
        request = (kind, tenant_id, amount)
        if (tenant_id, key) in self.answers:
            first, answer = self.answers[tenant_id, key]
            return (*answer, True) if first == request else (422, 0, False)
        if tenant_id not in self.accounts:
            return 404, 0, False
        account = self.accounts[tenant_id]
        balance = account["purchased"] - account["spent"]
        if kind == "purchase" and balance + amount > MAX:
            return 422, 0, False
        if kind == "consume" and balance < amount:
            answer = (402, balance)
        else:
            account["purchased" if kind == "purchase" else "spent"] += amount
            answer = (200, account["purchased"] - account["spent"])
        self.answers[tenant_id, key] = (request, answer)
        return (*answer, False)


class Ledger(RuleBasedStateMachine):
    stack: ClassVar[Stack]
    tenants = Bundle("tenants")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.api: Api = self.stack.api
        self.keys = [str(uuid.uuid4()) for _ in range(6)]

    @rule(target=tenants, create=st.booleans())
    def a_tenant(self, create: bool) -> str:
        tenant_id = new_tenant_id()
        if create:
            assert self.api.http.put(f"/credits/tenants/{tenant_id}").status_code == 201
            self.model.accounts[tenant_id] = {"purchased": 0, "spent": 0}
        return tenant_id

    @rule(tenant_id=tenants, amount=AMOUNTS, key=KEYS)
    def consume(self, tenant_id: str, amount: int, key: int) -> None:
        expected = self.model.move("consume", tenant_id, amount, key)
        self.compare(self.api.consume(tenant_id, amount, self.keys[key]), expected)

    @rule(tenant_id=tenants, amount=AMOUNTS, key=KEYS)
    def purchase(self, tenant_id: str, amount: int, key: int) -> None:
        expected = self.model.move("purchase", tenant_id, amount, key)
        self.compare(self.api.purchase(tenant_id, amount, self.keys[key]), expected)

    @rule(tenant_id=tenants)
    def create_again(self, tenant_id: str) -> None:
        status = 200 if tenant_id in self.model.accounts else 201
        assert self.api.http.put(f"/credits/tenants/{tenant_id}").status_code == status
        self.model.accounts.setdefault(tenant_id, {"purchased": 0, "spent": 0})

    @rule(tenant_id=tenants)
    def read(self, tenant_id: str) -> None:
        answer = self.api.balance(tenant_id)
        account = self.model.accounts.get(tenant_id)
        if account is None:
            assert answer.status_code == 404
            return
        body = answer.json()
        assert body["total_purchased"] == account["purchased"]
        assert body["total_spent"] == account["spent"]
        assert body["balance"] == body["available"] == account["purchased"] - account["spent"]

    @invariant()
    def nobody_is_below_zero(self) -> None:
        assert all(a["purchased"] >= a["spent"] for a in self.model.accounts.values())

    def teardown(self) -> None:
        for tenant_id in self.model.accounts:
            assert_books_balance(self.stack, tenant_id)

    @staticmethod
    def compare(answer: httpx.Response, expected: tuple[int, int, bool]) -> None:
        status, number, replayed = expected
        assert answer.status_code == status, answer.text
        assert ("idempotency-replayed" in answer.headers) == replayed
        if status in (200, 402):
            assert answer.json()["balance" if status == 200 else "available"] == number


@pytest.mark.timeout(120)
def test_every_sequence_of_calls_does_what_the_model_says(stack: Stack) -> None:
    Ledger.stack = stack
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
