"""Many evaluations at once, long ones that are cancelled, and how far they say to be."""

import asyncio
import json
import time
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from shieldx_contract import ENV_REQUEST_TIMEOUT_S
from tests.integration.harness import Api, Stack, new_tenant_id, problem_of
from tests.integration.shadow.conftest import start
from tests.integration.shadow.test_api import lines, question, send

TENANTS = 5
SLOW = {"rule_type": "anomaly_detection", "rule_config": {"threshold": 5.5}, "sample_size": 1_000_000}
"""A rule that must learn first, on as many samples as `large` sends: some seconds."""


@pytest.fixture(scope="module")
def large(shadow: Api) -> str:
    """A tenant with 120,000 samples."""
    tenant_id = new_tenant_id()
    for _ in range(4):
        assert send(shadow, tenant_id, lines(15_000, 15_000)).json()["accepted"] == 30_000
    return tenant_id


def ask(shadow: Api, tenant_id: str, **more: Any) -> str:
    answer = shadow.http.post("/shadow/evaluations", json=question(tenant_id, **more))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["eval_id"])


def standing(shadow: Api, eval_id: str) -> dict[str, Any]:
    told: dict[str, Any] = shadow.http.get(f"/shadow/results/{eval_id}").json()
    return told


def wait_for(shadow: Api, eval_id: str, status: str) -> dict[str, Any]:
    until_s = time.monotonic() + 60
    while (told := standing(shadow, eval_id))["status"] != status:
        assert time.monotonic() < until_s, told
        time.sleep(0.02)
    return told


async def test_a_hundred_at_once_are_all_answered_and_no_tenant_waits_for_anothers(
    shadow: Api, stack: Stack, large: str
) -> None:
    many, few = new_tenant_id(), [new_tenant_id() for _ in range(TENANTS)]
    for tenant_id in (many, *few):
        send(shadow, tenant_id, lines(40, 160))
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=shadow.url, headers=shadow.headers, timeout=60, limits=limits) as client:

        async def asked(tenant_ids: list[str], seeds: range) -> list[httpx.Response]:
            bodies = [question(tenant_id, seed=seed, sample_size=100) for seed in seeds for tenant_id in tenant_ids]
            return await asyncio.gather(*[client.post("/shadow/evaluations", json=body) for body in bodies])

        # somebody else's long ones hold the processes until all have arrived
        before = [await asyncio.to_thread(ask, shadow, large, seed=200 + seed, **SLOW) for seed in range(12)]
        answers = await asked([many], range(75))
        answers += await asked(few, range(5))
        assert {answer.status_code for answer in answers} == {202}
        for eval_id in before:
            await client.delete(f"/shadow/evaluations/{eval_id}")
        until_s = time.monotonic() + 120
        for answer in answers:
            while (told := (await client.get(answer.headers["location"])).json())["status"] != "completed":
                assert told["status"] in ("queued", "running"), told
                assert time.monotonic() < until_s
                await asyncio.sleep(0.05)
            assert (told["true_positives"], told["true_negatives"]) == (20, 80)
    statement = "SELECT tenant_id FROM shadow.evaluations WHERE tenant_id = ANY($1) ORDER BY finished_at"
    order = [row["tenant_id"] for row in await asyncio.to_thread(stack.sql, statement, [many, *few])]
    assert len(order) == 100
    first = min(order.index(tenant_id) for tenant_id in few)
    last = max(place for place, tenant_id in enumerate(order) if tenant_id != many)
    # five turns of each are five turns of the tenant with many, and some while they arrive
    assert order[first:last].count(many) <= 15, "one tenant's questions were served before the others'"


def test_one_that_runs_is_cancelled_and_says_so_to_whoever_waits(shadow: Api, large: str) -> None:
    eval_id = ask(shadow, large, **SLOW)
    wait_for(shadow, eval_id, "running")
    answer = shadow.http.delete(f"/shadow/evaluations/{eval_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert shadow.http.delete(f"/shadow/evaluations/{eval_id}").json()["status"] == "cancelled", "twice changes nothing"
    with shadow.http.stream("GET", f"/shadow/evaluations/{eval_id}/events") as stream:
        assert "event: cancelled" in "".join(stream.iter_text())
    # the process that judged it is free again, and nothing writes over its end
    began_s = time.monotonic()
    told = shadow.http.post("/shadow/evaluate", json=question(large, sample_size=1000, seed=9)).json()
    assert told["status"] == "completed"
    assert standing(shadow, eval_id)["status"] == "cancelled"
    assert time.monotonic() - began_s < 30


def test_those_that_wait_are_cancelled_and_leave_their_places(shadow: Api, large: str) -> None:
    busy = [ask(shadow, large, seed=seed, **SLOW) for seed in range(8)]
    for eval_id in reversed(busy):
        assert shadow.http.delete(f"/shadow/evaluations/{eval_id}").json()["status"] == "cancelled"
    assert shadow.http.post("/shadow/evaluate", json=question(large, seed=3)).json()["status"] == "completed"


def test_what_has_come_to_its_end_cannot_be_cancelled_nor_can_a_strangers(shadow: Api, api: Api) -> None:
    tenant_id, other = new_tenant_id(), api.tenant()
    send(shadow, tenant_id, lines(4, 4))
    eval_id = shadow.http.post("/shadow/evaluate", json=question(tenant_id)).json()["eval_id"]
    problem_of(shadow.http.delete(f"/shadow/evaluations/{eval_id}"), 409, "evaluation-ended")
    with shadow.with_key(api.issue(other, "read")) as stranger:
        problem_of(stranger.http.delete(f"/shadow/evaluations/{eval_id}"), 404, "not-found")
    assert standing(shadow, eval_id)["status"] == "completed"


def test_events_count_the_samples_that_were_judged(shadow: Api, large: str) -> None:
    eval_id = ask(shadow, large, seed=77, **SLOW)
    with shadow.http.stream("GET", f"/shadow/evaluations/{eval_id}/events") as stream:
        told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    counts = [event["judged"] for event in told]
    assert counts == sorted(counts)
    assert told[-1]["status"] == "completed"
    assert told[-1]["judged"] > 50_000, "half of them were trained on"
    between = [event for event in told if event["status"] == "running" and event["samples"] == 120_000]
    assert between, "no event while it ran"


def test_a_request_lasts_as_long_as_the_setting_says_and_its_question_goes_on(stack: Stack, large: str) -> None:
    with ExitStack() as exits:
        quick = start(stack, exits, "quick", **{ENV_REQUEST_TIMEOUT_S: "5"})
        before = [ask(quick, large, seed=100 + seed, **SLOW) for seed in range(14)]
        began_s = time.monotonic()
        answer = quick.http.post("/shadow/evaluate", json=question(large, seed=5))
        assert answer.status_code == 202, answer.text
        assert 3.9 < time.monotonic() - began_s < 5.5
        for eval_id in before:
            quick.http.delete(f"/shadow/evaluations/{eval_id}")
        assert wait_for(quick, answer.json()["eval_id"], "completed")["false_positives"] >= 0


def test_another_replica_cancels_and_tells_the_progress(shadow: Api, stack: Stack, large: str) -> None:
    with ExitStack() as exits:
        other = start(stack, exits, "other")
        eval_id = ask(shadow, large, seed=6, **SLOW)
        wait_for(other, eval_id, "running")
        assert other.http.delete(f"/shadow/evaluations/{eval_id}").json()["status"] == "cancelled"
        assert wait_for(shadow, eval_id, "cancelled")
        # its process hears of it within a second or two: the next question need not wait for the end of the other
        assert shadow.http.post("/shadow/evaluate", json=question(large, seed=8)).json()["status"] == "completed"
        assert standing(other, eval_id)["status"] == "cancelled"
