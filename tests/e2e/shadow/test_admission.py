"""A worker's token writes the entry of its own shard, and nothing else, whatever it tries."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from shieldx_operator.engine.types import Obj
from shieldx_runtime.shadow.cluster.apiserver import Answer
from tests.e2e.shadow.conftest import Ground
from tests.e2e.shadow.worker import Worker, idle_pod, make_account, worker
from tests.e2e.waiting import eventually

QUESTION = "0123456789"
RUN = "abcdef0123"
SPEC: dict[str, Any] = {
    "rule": {"id": "r", "type": "signature", "pattern": "x"},
    "data": {"configMap": {"name": "samples", "key": "samples.ndjson"}},
    "shards": 3,
    "suspend": True,
}


def entry(index: int, question: str = QUESTION, seen: int = 1) -> Obj:
    return {"index": index, "question": question, "finishedAt": "2026-01-01T00:00:00Z", "counts": {"seen": seen}}


@dataclass
class Scene:
    """Two evaluations, and the worker of shard 1 of the first."""

    ground: Ground
    first: Obj
    second: Obj
    account: str
    mine: Worker
    folder: Path

    async def shards(self) -> list[Obj]:
        shards: list[Obj] = (await self.ground.status("first")).get("shards") or []
        return shards

    async def worker_of(self, pod: str | None) -> Worker:
        made = await idle_pod(self.ground, pod, self.account) if pod else None
        return await worker(self.ground, self.folder, self.first, self.account, made)


@pytest_asyncio.fixture
async def scene(ground: Ground, tmp_path: Path) -> Scene:
    first, second = await ground.ask("first", **SPEC), await ground.ask("second", **SPEC)
    # the Role allows more than the operator's, so that it is the policy that refuses
    account = await make_account(ground, "first", QUESTION, names=("second",))
    pod = await idle_pod(ground, f"first-{RUN}-1-abcde", account)
    mine = await worker(ground, tmp_path, first, account, pod)

    async def allowed() -> bool:
        return (await asyncio.to_thread(mine.apply, 1, entry(1))).status == 200

    await eventually(allowed, 20, "the worker may write its own shard")
    return Scene(ground, first, second, account, mine, tmp_path)


def assert_forbidden(answer: Answer, says: str) -> None:
    assert answer.status == 403, answer.said()
    assert says in answer.said()


async def test_a_worker_writes_its_shard_and_writes_it_again(scene: Scene) -> None:
    assert await scene.shards() == [entry(1)]
    assert scene.mine.apply(1, entry(1, seen=2)).status == 200
    assert await scene.shards() == [entry(1, seen=2)]


async def test_workers_of_two_shards_do_not_touch_each_other(scene: Scene) -> None:
    other = await scene.worker_of(f"first-{RUN}-2-fghij")
    assert other.apply(2, entry(2)).status == 200
    assert scene.mine.apply(1, entry(1, seen=5)).status == 200
    assert sorted((s["index"], s["counts"]["seen"]) for s in await scene.shards()) == [(1, 5), (2, 1)]


async def test_the_shard_of_another_pod_is_refused(scene: Scene) -> None:
    for index in (0, 2, 11):
        assert_forbidden(scene.mine.apply(index, entry(1), entry(index)), "may write the entry of its own shard alone")
    assert await scene.shards() == [entry(1)]


async def test_an_entry_of_another_question_is_refused(scene: Scene) -> None:
    assert_forbidden(scene.mine.apply(1, entry(1, "9999999999")), f"for question {QUESTION}")


async def test_the_verdict_and_every_other_field_of_the_status_are_refused(scene: Scene) -> None:
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Forged",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    forgeries: list[Obj] = [
        {"conditions": [ready]},
        {"question": QUESTION},
        {"observedGeneration": 7},
        {"inventory": []},
    ]
    for forged in forgeries:
        assert_forbidden(scene.mine.apply(1, entry(1), **forged), "nothing of the status but shards")
    assert set(await scene.ground.status("first")) == {"shards"}


async def test_the_entry_of_another_shard_cannot_be_removed(scene: Scene) -> None:
    other = await scene.worker_of(f"first-{RUN}-2-fghij")
    assert other.apply(2, entry(2)).status == 200
    assert_forbidden(scene.mine.send(2, {}), "may remove no shard")
    assert len(await scene.shards()) == 2


async def test_another_evaluation_is_refused(scene: Scene) -> None:
    elsewhere = await worker(scene.ground, scene.folder / "..", scene.second, scene.account, None)
    scene.mine.evaluation = elsewhere.evaluation
    assert_forbidden(scene.mine.apply(1, entry(1)), "and may write to no other")


async def test_a_token_that_is_bound_to_no_pod_is_refused(scene: Scene) -> None:
    unbound = await scene.worker_of(None)
    assert_forbidden(unbound.apply(1, entry(1, seen=9)), "the token is bound to no pod")


async def test_a_pod_of_another_name_with_the_account_is_refused(scene: Scene) -> None:
    for name in ("first-1-abcde", f"second-{RUN}-1-abcde", f"x-first-{RUN}-1-abcde"):
        assert_forbidden((await scene.worker_of(name)).apply(1, entry(1, seen=9)), "of its own shard alone")


async def test_nothing_but_the_status_may_be_written(scene: Scene) -> None:
    path = scene.mine.evaluation.path(1).replace("/status?", "?")
    answer = scene.mine.transport(path, scene.mine.evaluation.body(entry(1)))
    assert answer.status == 403
