"""The service against a plain model of it, over sequences of calls that Hypothesis makes up and shortens."""

import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.integration.harness import Api, Stack, assert_books_balance, new_tenant_id

MAX = 2**53 - 1
AMOUNTS = st.one_of(st.integers(1, 20), st.sampled_from([MAX - 10, MAX]))
KEYS = st.integers(0, 5)


@dataclass
class Account:
    purchased: int = 0
    spent: int = 0
    reserved: int = 0

    @property
    def balance(self) -> int:
        return self.purchased - self.spent


@dataclass
class Taken:
    """A consume or commit that succeeded, and what is left to refund of it."""

    tenant_id: str
    left: int


@dataclass
class Hold:
    tenant_id: str
    amount: int
    state: str = "held"


Answer = tuple[int, int]
"""Status, and a number that goes with it: the balance after a success, what was available after a 402."""


class Model:
    """What a ledger is, in a few obvious lines."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.taken: dict[str, Taken] = {}
        self.holds: dict[str, Hold] = {}
        self.answers: dict[tuple[str, int], tuple[tuple[Any, ...], Answer]] = {}

    def move(self, tenant_id: str, key: int, request: tuple[Any, ...]) -> tuple[int, int, bool]:
        """Status, number, and whether it is replayed."""
        if (tenant_id, key) in self.answers:
            first, answer = self.answers[tenant_id, key]
            return (*answer, True) if first == request else (422, 0, False)
        if tenant_id not in self.accounts:
            return 404, 0, False
        answer = self.decide(self.accounts[tenant_id], request)
        if answer[0] in (200, 201, 402):
            self.answers[tenant_id, key] = (request, answer)
        return (*answer, False)

    def decide(self, account: Account, request: tuple[Any, ...]) -> Answer:  # noqa: C901, PLR0911 - a case each
        kind, what, amount = request
        available = account.balance - account.reserved
        if kind == "purchase":
            if account.balance + amount > MAX:
                return 422, 0
            account.purchased += amount
        elif kind == "consume":
            if available < amount:
                return 402, available
            account.spent += amount
        elif kind == "reserve":
            if available < amount:
                return 402, available
            account.reserved += amount
            return 201, account.balance
        elif kind == "refund":
            if amount > self.taken[what].left or account.balance + amount > MAX:
                return 422, 0
            self.taken[what].left -= amount
            account.spent -= amount
        else:
            hold = self.holds[what]
            if hold.state != "held":
                return 409, 0
            if amount > hold.amount:
                return 422, 0
            hold.state = kind
            account.reserved -= hold.amount
            account.spent += amount
        return 200, account.balance


class Ledger(RuleBasedStateMachine):
    stack: ClassVar[Stack]
    tenants = Bundle("tenants")
    takings = Bundle("takings")
    reservations = Bundle("reservations")

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
            self.model.accounts[tenant_id] = Account()
        return tenant_id

    @rule(target=takings, tenant_id=tenants, amount=AMOUNTS, key=KEYS)
    def consume(self, tenant_id: str, amount: int, key: int) -> Any:
        expected = self.model.move(tenant_id, key, ("consume", None, amount))
        answer = self.compare(self.api.consume(tenant_id, amount, self.keys[key]), expected)
        return self.take(tenant_id, amount, answer, replayed=expected[2])

    def take(self, tenant_id: str, amount: int, answer: httpx.Response, *, replayed: bool) -> Any:
        if answer.status_code != 200:
            return multiple()
        transaction_id = str(answer.json()["transaction_id"])
        if not replayed:
            self.model.taken[transaction_id] = Taken(tenant_id, amount)
        return transaction_id if transaction_id in self.model.taken else multiple()

    @rule(tenant_id=tenants, amount=AMOUNTS, key=KEYS)
    def purchase(self, tenant_id: str, amount: int, key: int) -> None:
        expected = self.model.move(tenant_id, key, ("purchase", None, amount))
        self.compare(self.api.purchase(tenant_id, amount, self.keys[key]), expected)

    @rule(transaction_id=takings, amount=AMOUNTS, key=KEYS)
    def refund(self, transaction_id: str, amount: int, key: int) -> None:
        tenant_id = self.model.taken[transaction_id].tenant_id
        expected = self.model.move(tenant_id, key, ("refund", transaction_id, amount))
        self.compare(self.api.refund(transaction_id, amount, self.keys[key]), expected)

    @rule(target=reservations, tenant_id=tenants, amount=AMOUNTS, key=KEYS)
    def reserve(self, tenant_id: str, amount: int, key: int) -> Any:
        expected = self.model.move(tenant_id, key, ("reserve", None, amount))
        answer = self.compare(self.api.reserve(tenant_id, amount, key=self.keys[key]), expected)
        if answer.status_code != 201:
            return multiple()
        reservation_id = str(answer.json()["reservation_id"])
        if not expected[2]:
            self.model.holds[reservation_id] = Hold(tenant_id, amount)
        return reservation_id

    @rule(target=takings, reservation_id=reservations, amount=AMOUNTS, key=KEYS)
    def commit(self, reservation_id: str, amount: int, key: int) -> Any:
        tenant_id = self.model.holds[reservation_id].tenant_id
        expected = self.model.move(tenant_id, key, ("commit", reservation_id, amount))
        answer = self.compare(self.api.commit(reservation_id, amount, self.keys[key]), expected)
        return self.take(tenant_id, amount, answer, replayed=expected[2])

    @rule(reservation_id=reservations, key=KEYS)
    def cancel(self, reservation_id: str, key: int) -> None:
        tenant_id = self.model.holds[reservation_id].tenant_id
        expected = self.model.move(tenant_id, key, ("cancel", reservation_id, 0))
        self.compare(self.api.cancel(reservation_id, self.keys[key]), expected)

    @rule(tenant_id=tenants)
    def create_again(self, tenant_id: str) -> None:
        status = 200 if tenant_id in self.model.accounts else 201
        assert self.api.http.put(f"/credits/tenants/{tenant_id}").status_code == status
        self.model.accounts.setdefault(tenant_id, Account())

    @rule(tenant_id=tenants)
    def read(self, tenant_id: str) -> None:
        answer = self.api.balance(tenant_id)
        account = self.model.accounts.get(tenant_id)
        if account is None:
            assert answer.status_code == 404
            return
        body = answer.json()
        assert body["total_purchased"] == account.purchased
        assert body["total_spent"] == account.spent
        assert body["balance"] == account.balance
        assert body["reserved_funds"] == account.reserved
        assert body["available"] == account.balance - account.reserved

    @invariant()
    def nobody_is_below_zero(self) -> None:
        assert all(0 <= a.reserved <= a.balance <= MAX for a in self.model.accounts.values())

    def teardown(self) -> None:
        for tenant_id, account in self.model.accounts.items():
            assert_books_balance(self.stack, tenant_id)
            lots = self.api.grants(tenant_id, limit=200)
            assert sum(lot["remaining"] for lot in lots) == account.balance - account.reserved

    @staticmethod
    def compare(answer: httpx.Response, expected: tuple[int, int, bool]) -> httpx.Response:
        status, number, replayed = expected
        assert answer.status_code == status, answer.text
        assert ("idempotency-replayed" in answer.headers) == replayed
        if status in (200, 201, 402):
            assert answer.json()["available" if status == 402 else "balance"] == number
        return answer


@pytest.mark.timeout(300)
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
