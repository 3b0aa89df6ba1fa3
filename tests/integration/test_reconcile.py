"""Reconciliation finds what somebody has changed by hand, wherever it was, and nothing where all is well."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from shieldx_contract import CREDITS_DIFFER_EXIT_CODE
from tests.integration.harness import Api, Stack, problem_of, running_stack, text_in


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One of its own: the command compares all books, and other tests leave some that do not add up."""
    with running_stack(tmp_path_factory.mktemp("reconcile")) as made:
        yield made


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    return stack.api


@pytest.fixture(scope="module")
def replica(stack: Stack) -> Iterator[Api]:
    with stack.client_of_a_replica() as client:
        yield client


def reconcile(api: Api, tenant_id: str) -> dict[str, tuple[str, str]]:
    answer = api.http.post(f"/credits/reconcile/{tenant_id}")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["agrees"] is (document["differences"] == [])
    return {d["what"]: (d["found"], d["expected"]) for d in document["differences"]}


def command(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shieldx_runtime", "credits", "reconcile", *arguments],
        env=stack.service.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def busy(api: Api) -> str:
    """A tenant that has done a bit of everything."""
    tenant_id = api.tenant(100)
    taken = api.consume(tenant_id, 30).json()["transaction_id"]
    api.refund(taken, 5)
    api.commit(api.reserve(tenant_id, 10).json()["reservation_id"], 4)
    api.reserve(tenant_id, 7)
    return tenant_id


def test_books_in_order_agree(stack: Stack, api: Api) -> None:
    tenant_id = busy(api)
    api.balance(tenant_id)
    assert reconcile(api, tenant_id) == {}
    done = command(stack, "--tenant", tenant_id)
    assert (done.returncode, done.stdout) == (0, "1 tenants compared, 0 differ\n")


@pytest.mark.parametrize(
    ("change", "undo", "expected"),
    [
        (
            "UPDATE credits.accounts SET balance = balance + 1, total_purchased = total_purchased + 1",
            "UPDATE credits.accounts SET balance = balance - 1, total_purchased = total_purchased - 1",
            {"account: balance": ("72", "71"), "account: total_purchased": ("101", "100")},
        ),
        (
            "UPDATE credits.ledger SET balance_after = balance_after + 1 WHERE version = 2 AND true",
            "UPDATE credits.ledger SET balance_after = balance_after - 1 WHERE version = 2 AND true",
            {
                "ledger: balance_after of entry 2": ("71", "70"),
                "audit: leaf of entry 2": ("another", "the one of the entry"),
            },
        ),
        (
            "UPDATE credits.ledger SET key_id = 'x' || key_id WHERE version = 3 AND true",
            "UPDATE credits.ledger SET key_id = substr(key_id, 2) WHERE version = 3 AND true",
            {"audit: leaf of entry 3": ("another", "the one of the entry")},
        ),
        (
            "UPDATE credits.holds SET amount = amount + 1 WHERE state = 'held' AND true",
            "UPDATE credits.holds SET amount = amount - 1 WHERE state = 'held' AND true",
            {"account: reserved_funds": ("7", "8"), "grants: held": ("7", "8")},
        ),
    ],
)
def test_what_was_changed_by_hand_is_named(
    stack: Stack, api: Api, change: str, undo: str, expected: dict[str, tuple[str, str]]
) -> None:
    tenant_id = busy(api)
    glue = " AND" if "WHERE" in change else " WHERE"
    stack.sql(f"{change}{glue} tenant_id = $1", tenant_id)
    try:
        # the caches and the grants, which still are as they were, may differ from it too
        assert reconcile(api, tenant_id).items() >= expected.items()
        done = command(stack, "--json")
        assert done.returncode == CREDITS_DIFFER_EXIT_CODE
        told = json.loads(done.stdout)
        assert {d["what"] for d in told["differences"][tenant_id]} >= set(expected)
        assert told["differing"] == 1
        assert 'credits_operations_total{op="reconcile",result="differs"}' in stack.service.metrics()
    finally:
        stack.sql(f"{undo}{glue} tenant_id = $1", tenant_id)
    assert reconcile(api, tenant_id) == {}


def test_a_cache_that_says_otherwise_is_named(stack: Stack, api: Api, replica: Api) -> None:
    tenant_id = busy(api)
    api.balance(tenant_id)
    store = redis.Redis.from_url(stack.redis.uri)
    (name,) = store.keys(f"shieldx:credits:*:balance:{tenant_id}")
    store.set(name, text_in(store, name).replace(b'"balance":71', b'"balance":99'), keepttl=True)
    store.close()
    assert reconcile(replica, tenant_id) == {"l2: balance": ("99", "71")}


def test_who_may_reconcile_and_whom(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(1)
    problem_of(api.http.post("/credits/reconcile/no-such-tenant"), 404, "unknown-tenant")
    with api.with_key(api.issue(tenant_id, "consume", "read", "purchase")) as client:
        problem_of(client.http.post(f"/credits/reconcile/{tenant_id}"), 403, "missing-scope")
    nobody = command(stack, "--tenant", "no-such-tenant")
    assert (nobody.returncode, nobody.stderr) == (3, "--tenant: there is no tenant 'no-such-tenant': check the id\n")
