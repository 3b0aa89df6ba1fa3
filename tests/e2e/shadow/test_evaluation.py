"""From an applied object to a verdict, and what becomes of it when somebody changes, holds or deletes it."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from shieldx_operator.blocks.resources import CONFIG_MAP, NETWORK_POLICY, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from shieldx_operator.engine.types import Obj, Query
from tests.e2e.shadow.conftest import ROOT, Ground
from tests.e2e.shadow.samples import MATRIX, SPEC, ndjson
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.timeout(600, func_only=True)
HELPERS = (CONFIG_MAP, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, NETWORK_POLICY)


@pytest_asyncio.fixture
async def ready(ground: Ground) -> Ground:
    """A namespace with samples and an operator."""
    await ground.config_map("samples", {"samples.ndjson": ndjson()})
    ground.start_operator()
    return ground


async def helpers(ground: Ground, name: str) -> list[str]:
    selector = f"app.kubernetes.io/instance={name}"
    found = [await ground.client.find(Query(r, ground.namespace, label_selector=selector)) for r in HELPERS]
    return [f"{o['kind']} {o['metadata']['name']}" for objects in found for o in objects]


async def test_the_example_gets_a_verdict_that_kubectl_shows(ground: Ground, kubectl: Callable[..., str]) -> None:
    ground.start_operator()
    kubectl("apply", "--server-side", "-f", str(ROOT / "examples" / "shadowevaluation.yaml"))
    status = await ground.answer("rule-001")
    assert status["result"]["verdict"] == "PROMOTE"
    assert status["result"]["matrix"] == {
        "truePositives": 35,
        "falsePositives": 0,
        "trueNegatives": 100,
        "falseNegatives": 10,
    }
    head, row = kubectl("get", "shadowevaluations").splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["NAME", "RULE", "VERDICT", "F1", "SAMPLES", "AGE"]
    assert re.search(r"^rule-001\s+rule-001\s+PROMOTE\s+0\.875 \(0\.\d{3}-0\.\d{3}\)\s+145\s+", row)
    events = kubectl("get", "events", "--field-selector", "involvedObject.name=rule-001")
    assert "PROMOTE: F1 0.875" in events


async def test_shards_are_judged_by_pods_of_their_own_and_add_up(ready: Ground) -> None:
    await ready.ask("whole", **SPEC)
    await ready.ask("parts", **{**SPEC, "shards": 3, "workers": 1})
    whole, parts = await ready.answer("whole"), await ready.answer("parts")
    assert whole["result"]["matrix"] == parts["result"]["matrix"] == MATRIX
    assert sorted(s["index"] for s in parts["shards"]) == [0, 1, 2]
    assert {s["question"] for s in parts["shards"]} == {parts["question"]}
    managers = [m["manager"] for m in (await ready.there("parts"))["metadata"]["managedFields"]]
    assert {f"shieldx-shadow-worker-{index}" for index in range(3)} <= set(managers)
    same = ("matrix", "precision", "recall", "f1", "mcc", "datasetDigest", "recommendations")
    assert [whole["result"].get(name) for name in same] == [parts["result"].get(name) for name in same]


async def test_at_the_end_nothing_is_left_but_the_job_with_its_log(ready: Ground) -> None:
    await ready.ask("one", **SPEC)
    await ready.answer("one")

    async def gone() -> bool:
        return not await helpers(ready, "one")

    await eventually(gone, 20, "account, policy and task are gone")
    (job,) = await ready.jobs("one")
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600


async def test_the_same_question_needs_no_second_job(ready: Ground) -> None:
    await ready.ask("first", **SPEC)
    first = await ready.answer("first")
    await ready.ask("second", **{**SPEC, "gates": {"minPrecision": 0.99}})
    second = await ready.answer("second", 15)
    assert second["result"]["cachedFrom"] == "first"
    assert second["result"]["matrix"] == first["result"]["matrix"]
    assert (first["result"]["verdict"], second["result"]["verdict"]) == ("PROMOTE", "REJECT")
    assert await ready.jobs("second") == []
    await ready.config_map("samples", {"samples.ndjson": ndjson() + ndjson()})
    await ready.ask("third", **SPEC)
    third = await ready.answer("third")
    assert "cachedFrom" not in third["result"], "the samples are others now"
    assert third["samples"] == 2000


async def test_a_changed_rule_is_asked_anew_and_its_old_answer_goes_at_once(ready: Ground) -> None:
    await ready.ask("one", **SPEC)
    before = await ready.answer("one")
    await ready.change("one", rule={**SPEC["rule"], "pattern": "drop table"})

    async def asked_anew() -> bool:
        return bool((await ready.status("one"))["question"] != before["question"])

    await eventually(asked_anew, 10, "the new question is seen")
    after = await ready.answer("one")
    assert after["result"]["matrix"]["truePositives"] == 100
    (job,) = await ready.jobs("one")
    assert job["metadata"]["name"] == f"one-{after['run']}"
    await ready.change("one", gates={"minRecall": 0.9})
    judged = await ready.answer("one", 10)
    assert judged["result"]["verdict"] == "REJECT"
    assert len(await ready.jobs("one")) == 1


async def test_a_held_evaluation_goes_on_where_it_was(ready: Ground) -> None:
    await ready.ask("one", **{**SPEC, "suspend": True})

    async def held() -> bool:
        return (await ready.condition("one", "Ready")).get("reason") == "Suspended"

    await eventually(held, 15, "Suspended")
    assert await ready.jobs("one") == []
    slow = {**SPEC["resources"], "limits": {"cpu": "50m", "memory": "512Mi"}}
    await ready.change("one", suspend=False, shards=2, parallelism=1, resources=slow)

    async def works() -> list[Obj]:
        return await ready.pods("one")

    await eventually(works, 15, "a pod")
    await ready.change("one", suspend=True)

    async def idle() -> bool:
        return not [p for p in await ready.pods("one") if p["status"]["phase"] in ("Pending", "Running")]

    await eventually(idle, 60, "no pod works")
    await ready.change("one", suspend=False)
    assert (await ready.answer("one"))["result"]["matrix"] == MATRIX


async def test_deleting_it_ends_its_pods_and_leaves_nothing(ready: Ground) -> None:
    slow = {**SPEC["resources"], "limits": {"cpu": "20m", "memory": "512Mi"}}
    await ready.ask("one", **{**SPEC, "resources": slow})

    async def works() -> bool:
        return any(p["status"]["phase"] == "Running" for p in await ready.pods("one"))

    await eventually(works, 120, "a pod that works")
    await ready.delete(ready.ref("one"))

    async def gone() -> bool:
        left: list[Any] = [*await ready.pods("one"), *await ready.jobs("one"), *await helpers(ready, "one")]
        return not left

    await eventually(gone, 60, "everything is gone")


async def test_a_rule_that_cannot_be_is_told_by_the_worker_and_tried_once(ready: Ground) -> None:
    await ready.ask("one", **{**SPEC, "rule": {"id": "r", "type": "signature", "syntax": "regex", "pattern": "(?=x)"}})

    async def stalled() -> Obj | None:
        found = await ready.condition("one", "Stalled")
        return found if found.get("status") == "True" else None

    found = await eventually(stalled, 60, "Stalled")
    assert found["reason"] == "EvaluationFailed"
    assert "rule.pattern" in found["message"]
    assert len(await ready.pods("one")) == 1, "no repetition would help"
    await asyncio.sleep(3)
    assert len(await ready.jobs("one")) == 1
    await ready.change("one", rule=SPEC["rule"])
    assert (await ready.answer("one"))["result"]["matrix"] == MATRIX


async def test_twenty_at_once_are_all_answered(ready: Ground) -> None:
    names = [f"one-{n}" for n in range(20)]
    for n, name in enumerate(names):
        await ready.ask(name, **{**SPEC, "seed": n, "workers": 1})
    for name in names:
        status = await ready.answer(name, 240)
        assert status["result"]["matrix"] == MATRIX
