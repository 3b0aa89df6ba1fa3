"""Evaluations are paid once or not at all: on a real credits service, through kill -9 at every step."""

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.devserver.ports import LOOPBACK
from tests.integration.guides import run_guide
from tests.integration.harness import (
    Api,
    Stack,
    assert_books_balance,
    let_pass,
    new_id,
    new_tenant_id,
    problem_of,
    until,
)
from tests.integration.shadow.conftest import PRICE, admitted, billing, launch, start
from tests.integration.shadow.test_api import lines, question, send
from tests.integration.test_runbooks import blocks, run

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "shadow-billing.md"
FUNDS = 1000
MOST, OWED = PRICE, 1
"""For a sample size of 1,000, and for the 200 samples that there are."""


@pytest.fixture(scope="module")
def keeper(stack: Stack) -> Iterator["Gate"]:
    with gate(stack) as made:
        yield made


@pytest.fixture(scope="module")
def paid(stack: Stack, keeper: "Gate") -> Iterator[Api]:
    """A shadow API whose evaluations cost credits."""
    with ExitStack() as exits:
        yield start(stack, exits, "paid", **billing(stack, keeper.url))


@pytest.fixture
def tenant(paid: Api, api: Api) -> str:
    """A tenant with credits, and with 40 attacks and 160 benign requests."""
    tenant_id = api.tenant(FUNDS)
    assert send(paid, tenant_id, lines(40, 160)).json()["accepted"] == 200
    return tenant_id


def state_of(stack: Stack, tenant_id: str) -> list[str]:
    rows = stack.sql("SELECT state FROM shadow.charges WHERE tenant_id = $1 ORDER BY asked_at", tenant_id)
    return [row["state"] for row in rows]


def settled(stack: Stack, *tenant_ids: str, timeout_s: float = 30) -> None:
    """Waits until nothing of these tenants is on its way."""
    statement = (
        "SELECT tenant_id, state, problem FROM shadow.charges "
        "WHERE tenant_id = ANY($1) AND state IN ('reserving', 'held', 'committing', 'cancelling')"
    )
    until_s = time.monotonic() + timeout_s
    while open_ := stack.sql(statement, list(tenant_ids)):
        assert time.monotonic() < until_s, open_
        time.sleep(0.1)


def kinds(api: Api, tenant_id: str) -> list[str]:
    """What happened to the tenant's credits since they were bought, the first first."""
    return [entry["kind"] for entry in api.entries(tenant_id)][::-1][1:]


def test_an_evaluation_costs_what_was_judged_and_an_answer_from_the_cache_nothing(
    paid: Api, api: Api, stack: Stack, tenant: str
) -> None:
    first = paid.http.post("/shadow/evaluate", json=question(tenant)).json()
    assert first["charge"]["credits"] == OWED
    assert api.balance(tenant).json()["available"] <= FUNDS - OWED, "it is out of reach before the answer is sent"
    settled(stack, tenant)
    again = paid.http.post("/shadow/evaluate", json=question(tenant)).json()
    assert again["cached"] is True
    settled(stack, tenant)
    assert state_of(stack, tenant) == ["committed", "cancelled"]
    assert kinds(api, tenant) == ["reserve", "commit", "reserve", "cancel"]
    told = paid.http.get(f"/shadow/results/{first['eval_id']}").json()
    assert told["charge"] == {"state": "committed", "credits": OWED}
    balance = api.balance(tenant).json()
    assert (balance["balance"], balance["reserved_funds"]) == (FUNDS - OWED, 0)


def test_who_has_not_enough_is_refused_and_nothing_is_judged_or_held(paid: Api, api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(MOST - 1)
    send(paid, tenant_id, lines(40, 160))
    for path in ("/shadow/evaluate", "/shadow/evaluations"):
        told = problem_of(paid.http.post(path, json=question(tenant_id)), 402, "insufficient-credits")
        assert (told["available"], told["required"]) == (MOST - 1, MOST)
        assert (told["success"], told["error"]) == (False, "Insufficient credits")
    assert state_of(stack, tenant_id) == ["refused"] * 2
    rows = stack.sql("SELECT status, error FROM shadow.evaluations WHERE tenant_id = $1", tenant_id)
    assert {row["status"] for row in rows} == {"failed"}
    assert "purchase at least 1 more" in rows[0]["error"]
    assert api.balance(tenant_id).json()["available"] == MOST - 1
    fewer = paid.http.post("/shadow/evaluate", json=question(tenant_id, sample_size=200))
    assert fewer.status_code == 200, "what fewer samples cost is there"


@pytest.mark.parametrize("path", ["/shadow/evaluate", "/shadow/evaluations"])
def test_a_key_that_may_only_read_spends_nothing(paid: Api, api: Api, tenant: str, path: str) -> None:
    with paid.with_key(api.issue(tenant, "read")) as reader:
        problem_of(reader.http.post(path, json=question(tenant)), 403, "missing-scope")
    assert kinds(api, tenant) == []
    with paid.with_key(api.issue(tenant, "read", "consume")) as spender:
        assert spender.http.post(path, json=question(tenant)).status_code in (200, 202)


def test_a_key_that_may_only_read_asks_where_evaluations_cost_nothing(shadow: Api, api: Api, tenant: str) -> None:
    with shadow.with_key(api.issue(tenant, "read")) as reader:
        assert reader.http.post("/shadow/evaluate", json=question(tenant)).status_code == 200


@pytest.mark.parametrize(
    "paths", [("/shadow/evaluations", "/shadow/evaluate"), ("/shadow/evaluate", "/shadow/evaluations")]
)
def test_the_same_question_under_the_same_key_is_one_evaluation_and_is_paid_once(
    paid: Api, api: Api, stack: Stack, tenant: str, paths: tuple[str, str]
) -> None:
    key = {"Idempotency-Key": new_id()}
    told = [paid.http.post(path, json=question(tenant), headers=key) for path in paths]
    assert {answer.status_code for answer in told} == {200, 202}, [answer.text for answer in told]
    assert len({answer.json()["eval_id"] for answer in told}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in told] == [None, "true"]
    settled(stack, tenant)
    assert kinds(api, tenant) == ["reserve", "commit"]


def test_many_at_once_under_one_key_are_one_evaluation(paid: Api, api: Api, stack: Stack, tenant: str) -> None:
    key = {"Idempotency-Key": new_id()}
    with ThreadPoolExecutor(8) as threads:
        sent = [
            threads.submit(paid.http.post, "/shadow/evaluations", json=question(tenant), headers=key) for _ in range(8)
        ]
        told = [one.result() for one in sent]
    assert {answer.status_code for answer in told} == {202}
    assert len({answer.headers["location"] for answer in told}) == 1
    settled(stack, tenant)
    assert kinds(api, tenant) == ["reserve", "commit"]


def test_a_key_whose_question_was_refused_is_free_for_it(paid: Api, api: Api, stack: Stack) -> None:
    tenant_id, key = api.tenant(MOST - 1), {"Idempotency-Key": new_id()}
    send(paid, tenant_id, lines(40, 160))
    refused = paid.http.post("/shadow/evaluate", json=question(tenant_id), headers=key)
    problem_of(refused, 402, "insufficient-credits")
    api.purchase(tenant_id, 1)
    answer = paid.http.post("/shadow/evaluate", json=question(tenant_id), headers=key)
    assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (200, None)
    settled(stack, tenant_id)
    assert state_of(stack, tenant_id) == ["refused", "committed"]


def test_one_that_fails_costs_nothing(paid: Api, api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(FUNDS)
    problem_of(paid.http.post("/shadow/evaluate", json=question(tenant_id)), 422, "evaluation-failed")
    settled(stack, tenant_id)
    assert kinds(api, tenant_id) == ["reserve", "cancel"]


def test_a_tenant_that_the_credits_service_does_not_know_cannot_ask(paid: Api) -> None:
    problem_of(paid.http.post("/shadow/evaluate", json=question("nobody-at-all")), 404, "unknown-tenant")


class Gate:
    """Before the credits API: lets a call through, or keeps it, before it is made or before its answer is given."""

    def __init__(self, behind: str) -> None:
        self.url = ""
        self._behind = behind
        self.plans: dict[tuple[str, str], str] = {}
        """By tenant and the last part of the path: `before`, `after`; `lost`: made, and its answer is lost at once."""
        self.kept: set[str] = set()
        """Tenants whose call is being kept."""
        self._tenants: dict[str, str] = {}
        self._open = threading.Event()

    def close(self, plans: dict[tuple[str, str], str]) -> None:
        self.kept.clear()
        self.plans = plans
        self._open.clear()

    def open(self) -> None:
        """From now on all is let through; what was kept gets no answer any more."""
        self.plans = {}
        self._open.set()

    def answer(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response | None:
        document = json.loads(body)
        call = path.rpartition("/")[2]
        tenant_id = document.get("tenant_id") or self._tenants[path.split("/")[3]]
        plan = self.plans.get((tenant_id, call))
        if plan == "before":
            self._keep(tenant_id)
            return None
        answer = httpx.post(self._behind + path, content=body, headers=headers, timeout=10)
        if call == "reserve" and answer.status_code == 201:
            self._tenants[answer.json()["reservation_id"]] = tenant_id
        if plan == "after":
            self._keep(tenant_id)
        return None if plan else answer

    def _keep(self, tenant_id: str) -> None:
        self.kept.add(tenant_id)
        self._open.wait(20)


@contextmanager
def gate(stack: Stack) -> Iterator[Gate]:
    made = Gate(stack.api.url)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            passed = {k: self.headers[k] for k in ("authorization", "content-type")}
            answer = made.answer(self.path, body, passed)
            self.close_connection = True
            if answer is not None:
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers["content-type"])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        made.url = f"http://{LOOPBACK}:{server.server_address[1]}"
        yield made
    finally:
        made.open()
        server.shutdown()
        server.server_close()
        thread.join(5)


def ask(shadow: Api, tenant_id: str) -> None:
    """Whatever becomes of it: the service may be killed before it answers."""
    try:
        httpx.post(f"{shadow.url}/shadow/evaluations", json=question(tenant_id), headers=shadow.headers, timeout=15)
    except httpx.TransportError:
        return


POINTS = {
    ("reserve", "before"): ["reserve", "cancel"],
    ("reserve", "after"): ["reserve", "cancel"],
    ("commit", "before"): ["reserve", "commit"],
    ("commit", "after"): ["reserve", "commit"],
    ("cancel", "before"): ["reserve", "cancel"],
    ("cancel", "after"): ["reserve", "cancel"],
}
"""Where the service is killed, and what the ledger has in the end."""
FREE = 6
"""Evaluations that run when the kill comes, each as far as it is."""


SEEDS = range(int(os.environ.get("SHIELDX_BILLING_SEEDS", "1")))


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_every_step_an_evaluation_is_paid_once_or_not_at_all(
    paid: Api, keeper: Gate, stack: Stack, api: Api, seed: int
) -> None:
    """Another replica goes on with what the killed one has left behind."""
    chance = random.Random(seed)  # noqa: S311 - the moment of the kill
    tenants = {point: api.tenant(FUNDS) for point in POINTS}
    free = [api.tenant(FUNDS) for _ in range(FREE)]
    everybody = [*tenants.values(), *free]
    for tenant_id in everybody:
        # without traffic an evaluation fails, and its hold is cancelled
        if tenant_id not in (tenants["cancel", "before"], tenants["cancel", "after"]):
            send(paid, tenant_id, lines(40, 160))
    with ExitStack() as exits:
        child, shadow = launch(stack, exits, f"killed-{seed}", **billing(stack, keeper.url))
        threads = exits.enter_context(ThreadPoolExecutor(len(everybody)))
        keeper.close({(tenant_id, call): when for (call, when), tenant_id in tenants.items()})
        for tenant_id in tenants.values():
            threads.submit(ask, shadow, tenant_id)
        until_s = time.monotonic() + 20
        while keeper.kept != set(tenants.values()):
            assert time.monotonic() < until_s, (keeper.kept, tenants)
            time.sleep(0.01)
        for tenant_id in free:
            threads.submit(ask, shadow, tenant_id)
        time.sleep(chance.uniform(0.0, 0.25))
        os.killpg(child.pid, signal.SIGKILL)  # the processes that judge, too, as the end of a pod
        child.wait(10)
        keeper.open()
    # as if the minute had passed after which nobody is waited for any more
    stack.sql("UPDATE shadow.evaluations SET seen_at = seen_at - interval '2 min' WHERE tenant_id = ANY($1)", everybody)
    stack.sql("UPDATE shadow.charges SET next_try_at = now() WHERE tenant_id = ANY($1)", everybody)
    settled(stack, *everybody)
    assert {point: kinds(api, tenant_id) for point, tenant_id in tenants.items()} == POINTS
    for tenant_id in free:
        rows = stack.sql("SELECT status FROM shadow.evaluations WHERE tenant_id = $1", tenant_id)
        expected = {"completed": ["reserve", "commit"], "failed": ["reserve", "cancel"]}
        assert kinds(api, tenant_id) == (expected[rows[0]["status"]] if rows else [])
    for tenant_id in everybody:
        assert api.balance(tenant_id).json()["reserved_funds"] == 0
        assert_books_balance(stack, tenant_id)


def test_while_the_credits_service_is_away_nothing_is_asked_and_nothing_stays_held(
    paid: Api, keeper: Gate, stack: Stack, api: Api, tenant: str
) -> None:
    keeper.close({(tenant, "reserve"): "lost"})
    answer = paid.http.post("/shadow/evaluate", json=question(tenant))
    problem_of(answer, 503, "credits-unavailable")
    assert answer.headers["retry-after"]
    keeper.open()
    settled(stack, tenant)
    assert kinds(api, tenant) == ["reserve", "cancel"]


def test_one_whose_hold_ended_before_its_commit_is_found_looked_up_and_paid_by_the_runbook(
    paid: Api, keeper: Gate, stack: Stack, api: Api, tenant: str, tmp_path: Path
) -> None:
    which, how, take = blocks("evaluation-not-paid.md")
    keeper.close({(tenant, "commit"): "before"})
    eval_id = paid.http.post("/shadow/evaluate", json=question(tenant)).json()["eval_id"]
    until(lambda: tenant in keeper.kept)
    let_pass(stack, tenant, 100_000)
    keeper.open()
    settled(stack, tenant)
    assert kinds(api, tenant) == ["reserve", "release"]
    names = {"SHIELDX_DATABASE_URI_FILE": str(admitted(stack))}
    seen = run(stack, which, tmp_path, **names)
    told = re.search(rf"{eval_id} \| {tenant} +\| +{OWED} \| (\S+) \| .* \| the hold was expired before", seen.stdout)
    assert told, seen.stdout + seen.stderr
    assert '"state": "expired"' in run(stack, how, tmp_path, RESERVATION=told[1]).stdout
    for _ in range(2):
        done = run(stack, take, tmp_path, EVAL=eval_id, TENANT=tenant, OWED=str(OWED))
        assert '"success":true' in done.stdout, done.stdout + done.stderr
    assert kinds(api, tenant) == ["reserve", "release", "consume"]
    assert api.balance(tenant).json()["available"] == FUNDS - OWED


def test_holds_that_may_never_have_been_made_are_looked_up_one_at_a_time(paid: Api, stack: Stack, api: Api) -> None:
    """Each is made to be cancelled: all at once they would leave nothing to a tenant that has enough for one."""
    assert paid.url
    tenant_id = api.tenant(MOST)
    stack.sql(
        "WITH ended AS (INSERT INTO shadow.evaluations (eval_id, tenant_id, question, status) "
        "SELECT gen_random_uuid(), $1, '{}', 'failed' FROM generate_series(1, 6) RETURNING eval_id, tenant_id) "
        "INSERT INTO shadow.charges (eval_id, tenant_id, state, most, hold_s) "
        "SELECT eval_id, tenant_id, 'cancelling', $2::bigint, 3600 FROM ended",
        tenant_id,
        MOST,
    )
    settled(stack, tenant_id)
    assert state_of(stack, tenant_id) == ["cancelled"] * 6
    assert kinds(api, tenant_id) == ["reserve", "cancel"] * 6


def test_every_example_of_the_guide_gives_what_it_says(paid: Api, stack: Stack) -> None:
    told = {
        "SHIELDX_URL": paid.url,
        "SHIELDX_CREDITS_URL": stack.api.url,
        "SHIELDX_ADMIN_KEY": stack.admin_key,
        "SHIELDX_TENANT": new_tenant_id(),
    }
    said = run_guide(GUIDE, told, calls=7)
    assert re.search(r'"charge":\{"state":"commit(ting|ted)","credits":1\}', said)
    # 3 while the ledger has yet to be told what the first has cost
    assert re.search(r'"available": (3|7), "required": 10', said)
