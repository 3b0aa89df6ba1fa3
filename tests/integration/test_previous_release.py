"""Each release before runs on the schema of this one, beside it: a rollout and its rollback lose and double nothing."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shieldx_runtime.core.migrations import load
from tests.integration.harness import (
    Api,
    Stack,
    assert_books_balance,
    in_time,
    let_pass,
    new_id,
    problem_of,
    until,
)

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = Path("runtime", "shieldx_runtime", "credits", "migrations")
RELEASES = {1: "a4cd22f", 5: "43af6b5", 6: "01d1e69", 7: "99548f2", 8: "056546e", 9: "87d4701"}
"""By the last migration that a release knew, its last commit: one for each change of the schema since."""


@pytest.fixture(scope="module", params=RELEASES, ids=[f"migration-{known}" for known in RELEASES])
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of a release before, out of the history."""
    commit = RELEASES[request.param]
    folder = tmp_path_factory.mktemp("previous")
    known = subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, capture_output=True, check=False, timeout=30)
    if known.returncode:
        pytest.skip(f"the history of this checkout does not reach back to {commit}: fetch it all to run this test")
    archive = subprocess.run(
        ["git", "archive", commit, "runtime", "contract"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True, timeout=60)
    assert len(load(folder / MIGRATIONS)) == request.param
    return folder


@pytest.fixture(scope="module")
def old(stack: Stack, code: Path) -> Iterator[Api]:
    """A client of a process of that release, on the same database and Redis, as the owner that it was."""
    with ExitStack() as exits:
        path = os.pathsep.join([str(code / "runtime"), str(code / "contract")])
        process = stack.process(exits, stack.postgres.uri("credits"), PYTHONPATH=path)
        migration = process.migrate()
        assert migration.returncode == 0, migration.stderr
        process.start()
        yield exits.enter_context(stack.client_of(process))


def test_every_migration_is_one_that_a_release_before_did_not_know() -> None:
    newest = len(load(ROOT / MIGRATIONS))
    assert max(RELEASES) == newest - 1, f"add the last commit before migration {newest} to RELEASES"


def test_both_sell_and_spend_the_same_credits(old: Api, api: Api, stack: Stack) -> None:
    tenant_id = old.tenant(100)
    for writer, amount, expected in ((api, 10, 90), (old, 10, 80), (api, 30, 50), (old, 50, 0)):
        answer = writer.consume(tenant_id, amount)
        assert (answer.status_code, answer.json()["balance"]) == (200, expected)
    for writer in (api, old):
        problem_of(writer.consume(tenant_id, 6), 402, "insufficient-credits")
        assert writer.purchase(tenant_id, 5).status_code == 200
    assert [lot["amount"] for lot in api.grants(tenant_id)] == [100, 5, 5]
    assert_books_balance(stack, tenant_id)


def test_a_key_that_one_has_answered_is_told_again_by_the_other(old: Api, api: Api) -> None:
    tenant_id = api.tenant(100)
    for first, second in ((old, api), (api, old)):
        keys = [new_id() for _ in range(3)]
        consumed = first.consume(tenant_id, 7, keys[0], description="d", reference="ü")
        bought = first.purchase(tenant_id, 3, keys[1], source="card")
        refused = first.consume(tenant_id, 999, keys[2])
        again = second.consume(tenant_id, 7, keys[0], description="d", reference="ü")
        assert (again.content, again.headers["idempotency-replayed"]) == (consumed.content, "true")
        assert second.purchase(tenant_id, 3, keys[1], source="card").content == bought.content
        assert second.consume(tenant_id, 999, keys[2]).content == refused.content
        problem_of(second.consume(tenant_id, 8, keys[2]), 422, "idempotency-key-reused")
    assert api.balance(tenant_id).json()["balance"] == 100 - 14 + 6


def test_what_has_expired_or_is_held_the_release_before_does_not_spend(old: Api, api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(10)
    api.purchase(tenant_id, 10, expires_at=in_time(hours=1))
    api.reserve(tenant_id, 12)
    problem_of(old.consume(tenant_id, 9), 402, "insufficient-credits")
    let_pass(stack, tenant_id, 3600)
    assert old.consume(tenant_id, 10).status_code == 200
    problem_of(old.consume(tenant_id, 1), 402, "insufficient-credits")
    assert_books_balance(stack, tenant_id)


def test_credits_sold_without_a_grant_are_found_and_spent(api: Api, stack: Stack) -> None:
    """As by a call of the release before that was under way when the schema changed."""
    tenant_id = api.tenant(10)
    stack.sql(
        "UPDATE credits.accounts SET balance = balance + 5, total_purchased = total_purchased + 5 WHERE tenant_id = $1",
        tenant_id,
    )
    assert api.consume(tenant_id, 13).status_code == 200
    assert sum(lot["remaining"] for lot in api.grants(tenant_id)) == 2
    api.purchase(tenant_id, 1)
    assert sum(lot["remaining"] for lot in api.grants(tenant_id)) == 3


def test_what_was_spent_before_there_were_grants_can_be_refunded(api: Api, stack: Stack) -> None:
    """Entries of the release before know nothing of grants."""
    tenant_id = api.tenant(10)
    taken = [api.consume(tenant_id, 4).json()["transaction_id"] for _ in range(2)]
    api.grants(tenant_id)
    stack.sql("UPDATE credits.ledger SET spent_after = NULL WHERE tenant_id = $1", tenant_id)
    stack.sql("DELETE FROM credits.draws WHERE tenant_id = $1", tenant_id)
    assert api.refund(taken[0], 4).json()["balance"] == 6
    assert api.consume(tenant_id, 6).status_code == 200
    problem_of(api.consume(tenant_id, 1), 402, "insufficient-credits")


def test_a_hold_or_consume_of_one_is_closed_or_refunded_by_the_other(old: Api, api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)
    if old.http.get(f"/credits/grants/{tenant_id}").status_code == 404:
        problem_of(old.reserve(tenant_id, 1), 404, "not-found")  # the first release has no holds
        return
    for first, second in ((old, api), (api, old)):
        hold = first.reserve(tenant_id, 10).json()["reservation_id"]
        assert second.commit(hold, 4).status_code == 200
        taken = second.consume(tenant_id, 6).json()["transaction_id"]
        assert first.refund(taken, 6).status_code == 200
        assert second.cancel(first.reserve(tenant_id, 3).json()["reservation_id"]).status_code == 200
    # what one has done last, the other is told in a moment
    until(lambda: api.balance(tenant_id).json()["available"] == 92)
    assert_books_balance(stack, tenant_id)
