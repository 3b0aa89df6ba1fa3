"""Killed workers, killed operators, a network that swallows packets: the same numbers, and no shard twice."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from shieldx_operator.blocks.resources import NETWORK_POLICY, POD
from shieldx_operator.engine.reconcile import Reconciler
from shieldx_operator.engine.types import Obj, Query, Ref
from shieldx_operator.kinds.shadowevaluation import ShadowEvaluationKind
from shieldx_operator.settings import OperatorSettings
from tests.e2e.mortal import Crash, mortal_reconciler
from tests.e2e.shadow.conftest import Ground, front_door
from tests.e2e.shadow.samples import MATRIX, SPEC, ndjson
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.timeout(900, func_only=True)
SLOW = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "60m", "memory": "512Mi"}}
"""A worker then needs some seconds for what takes it a quarter of one, and can be met at any moment of it."""


@pytest_asyncio.fixture
async def ready(ground: Ground) -> Ground:
    await ground.config_map("samples", {"samples.ndjson": ndjson()})
    return ground


def kill_9(pod: Obj) -> None:
    """The worker's first process, as the kernel's out-of-memory killer would do it."""
    uid = pod["metadata"]["uid"].replace("-", "[-_]")
    found = f"grep -l '{uid}' /proc/[0-9]*/cgroup | cut -d/ -f3"
    front_door("exec-node", "sh", "-c", f"for p in $({found}); do kill -9 $p; done")


async def running(ground: Ground, name: str) -> list[Obj]:
    return [p for p in await ground.pods(name) if p["status"]["phase"] == "Running"]


def assert_counted_once(status: Obj, shards: int) -> None:
    assert status["result"]["matrix"] == MATRIX
    assert status["samples"] == 1000
    assert sorted(s["index"] for s in status["shards"]) == list(range(shards))


@pytest.mark.parametrize("how", ["killed with -9", "deleted", "evicted"])
async def test_a_worker_that_dies_is_replaced_and_counted_once(ready: Ground, how: str) -> None:
    ready.start_operator()
    await ready.ask("one", **{**SPEC, "shards": 2, "workers": 1, "resources": SLOW})
    hit = []
    for _ in range(2):
        found = await eventually(lambda: running(ready, "one"), 60, "a pod that works")
        await asyncio.sleep(random.random() * 1.5)  # noqa: S311 - any moment will do
        victim = random.choice(found)  # noqa: S311
        hit.append(victim["metadata"]["name"])
        if how == "killed with -9":
            await asyncio.to_thread(kill_9, victim)
        elif how == "deleted":
            await ready.delete(Ref(POD, ready.namespace, victim["metadata"]["name"]))
        else:
            await evict(ready, victim)
    status = await ready.answer("one", 180)
    assert_counted_once(status, 2)
    assert hit


async def evict(ground: Ground, pod: Obj) -> None:
    name = pod["metadata"]["name"]
    metadata = {"name": name, "namespace": ground.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    url = f"{ground.client.api.configuration.host}/api/v1/namespaces/{ground.namespace}/pods/{name}/eviction"
    answer = await ground.client.api.call_api(
        "POST", url, header_params={"Content-Type": "application/json"}, body=body
    )
    assert answer.status in (201, 404, 409), await answer.read()  # type: ignore[no-untyped-call]


async def test_an_operator_that_is_killed_at_any_moment_loses_and_doubles_nothing(ready: Ground) -> None:
    names = [f"one-{n}" for n in range(4)]
    for n, name in enumerate(names):
        operator = ready.start_operator()
        await eventually(partial(_leads, operator.output), 60, "an operator that leads")
        await ready.ask(name, **{**SPEC, "seed": n, "shards": 2, "workers": 1})
        await asyncio.sleep(random.random() * 2.5)  # noqa: S311 - any moment will do
        operator.kill()
    ready.start_operator()
    for name in names:
        assert_counted_once(await ready.answer(name, 180), 2)
        assert len(await ready.jobs(name)) == 1
        assert len(await ready.pods(name)) == 2, "nothing was done twice"


async def _leads(output: Path) -> bool:
    lines = (await asyncio.to_thread(output.read_text)).splitlines()
    return any(json.loads(line).get("message") == "leads" for line in lines if "{" in line)


@contextlib.asynccontextmanager
async def reconciler(ground: Ground, lives: int) -> AsyncIterator[Reconciler]:
    settings = OperatorSettings.from_environment(
        {"SHIELDX_RUNTIME_IMAGE": ground.image, "SHIELDX_IMAGE_PULL_POLICY": "Never"}
    )
    async with mortal_reconciler(ground.client, ShadowEvaluationKind(settings), lives) as made:
        yield made


async def test_a_crash_after_any_call_of_the_first_look_ends_in_the_same_answer(ready: Ground) -> None:
    crashed = []
    for lives in range(1, 40):
        name = f"crash-{lives}"
        await ready.ask(name, **{**SPEC, "seed": lives, "workers": 1})
        try:
            async with reconciler(ready, lives) as made:
                await made.reconcile(ready.ref(name))
        except Crash:
            crashed.append(name)
        else:
            break
    assert len(crashed) > 10, "a first look makes more calls than that"
    ready.start_operator()
    for name in crashed:
        status = await ready.answer(name, 240)
        assert status["result"]["matrix"] == MATRIX
        assert len(await ready.jobs(name)) == 1
        assert len(await ready.pods(name)) == 1, "no shard was judged twice"


async def test_a_network_that_swallows_every_packet_for_twenty_seconds_costs_no_shard(ready: Ground) -> None:
    operator = ready.start_operator()
    await ready.ask("one", **{**SPEC, "resources": SLOW})
    await eventually(lambda: running(ready, "one"), 60, "a pod that works")
    operator.kill()  # or it would repair what comes now
    (policy,) = await policies(ready)
    ref = Ref(NETWORK_POLICY, ready.namespace, policy["metadata"]["name"])
    closed = {**policy["spec"], "egress": []}
    await ready.client.replace(ref, {**policy, "spec": closed})
    await asyncio.sleep(25)
    assert not (await ready.status("one")).get("shards"), "something got through"
    ready.start_operator()
    assert_counted_once(await ready.answer("one", 120), 1)
    assert len(await ready.pods("one")) == 1, "the first worker has reported, late"


API_SERVER_AWAY = """
pid=$(grep -lx kube-apiserver /proc/[0-9]*/comm | cut -d/ -f3)
kill -STOP $pid
sleep 20
kill -9 $pid
"""
"""It hangs for 20 s, then it is gone until the kubelet has started another."""


async def test_an_api_server_that_is_away_for_twenty_seconds_costs_no_shard(ready: Ground) -> None:
    ready.start_operator()
    await ready.ask("one", **{**SPEC, "shards": 2, "workers": 1, "resources": SLOW})
    await eventually(lambda: running(ready, "one"), 60, "a pod that works")
    await asyncio.to_thread(front_door, "exec-node", "sh", "-c", API_SERVER_AWAY)

    async def back() -> bool:
        told = await asyncio.to_thread(front_door, "kubectl", "get", "--raw=/readyz", check=False)
        return told.strip() == "ok"

    await eventually(back, 120, "the API server answers again")
    assert_counted_once(await ready.answer("one", 240), 2)
    assert len(await ready.jobs("one")) == 1
    assert len(await ready.pods("one")) == 2, "the first workers have reported, late"


async def policies(ground: Ground) -> list[Obj]:
    return await ground.client.find(Query(NETWORK_POLICY, ground.namespace))
