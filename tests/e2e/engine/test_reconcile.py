"""One look at a time against the real API server, and what a crash between any two calls leaves behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bench.operator.arena import NAMESPACES, Arena
from bench.operator.measure import parse_metrics, writes
from bench.operator.widget import CONFIG_MAPS, SECRETS, WidgetKind
from shieldx_operator.engine.client import ApiError
from shieldx_operator.engine.events import EVENTS
from shieldx_operator.engine.names import INITIAL_ANNOTATION
from shieldx_operator.engine.reconcile import Outcome, Reconciler
from shieldx_operator.engine.types import Kind, Observation, Plan, Query, Ref, Resource
from tests.e2e.mortal import Crash, mortal_reconciler
from tests.e2e.waiting import eventually

DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments")
MAX_LOOKS = 12


@contextlib.asynccontextmanager
async def reconciler(ground: Arena, *, kind: Kind | None = None, lives: int = 10**9) -> AsyncIterator[Reconciler]:
    """A new process, as far as its memory goes."""
    kind = kind or WidgetKind(ground.group)
    async with mortal_reconciler(ground.client, kind, lives) as made:
        yield made


async def settle(ground: Arena, name: str, **options: Any) -> Outcome:
    """Look until there is nothing left to do."""
    async with reconciler(ground, **options) as made:
        for _ in range(MAX_LOOKS):
            outcome = await made.reconcile(ground.ref(name))
            if outcome.result != "changed":
                return outcome
    raise AssertionError(f"Widget {name} is not settled after {MAX_LOOKS} looks")


async def update(ground: Arena, name: str, **spec: object) -> None:
    """As a user would: with a manager of its own, all of the spec."""
    there = await ground.client.get(ground.ref(name))
    assert there is not None
    await ground.client.replace(ground.ref(name), {**there, "spec": spec})


async def ready(ground: Arena, name: str) -> Mapping[str, Any]:
    widget = await ground.client.get(ground.ref(name))
    assert widget is not None
    return next(c for c in widget["status"]["conditions"] if c["type"] == "Ready")


async def picture(ground: Arena, name: str) -> dict[str, Any]:
    """All that a Widget made, without what differs between any two runs."""
    found: dict[str, Any] = {}
    for resource in (CONFIG_MAPS, SECRETS):
        for obj in await ground.client.find(Query(resource, ground.namespace)):
            meta = obj["metadata"]
            if not meta["name"].startswith(name):
                continue
            values = obj["data"] if resource == CONFIG_MAPS else sorted(obj["data"])
            owners = [o["kind"] for o in meta.get("ownerReferences", [])]
            found[f"{resource.kind}{meta['name'].removeprefix(name)}"] = (values, owners)
    widget = await ground.client.get(ground.ref(name))
    if widget is None:
        return {"gone": True, **{k: v for k, v in found.items() if k.startswith("Secret")}}
    status = widget["status"]
    found["conditions"] = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    found["inventory"] = [(e["kind"], e["name"].removeprefix(name)) for e in status["inventory"]]
    found["finalizers"] = widget["metadata"].get("finalizers", [])
    return found


FULL: dict[str, Any] = {"data": {"a": "1", "b": "2"}, "second": {"c": "3"}, "password": True, "finalizer": True}
LESS: dict[str, Any] = {"data": {"a": "1"}, "password": True, "finalizer": True}


async def made(ground: Arena, name: str) -> None:
    await ground.create(name, **FULL)


async def changed_after(ground: Arena, name: str) -> None:
    await ground.create(name, **FULL)
    await settle(ground, name)
    await update(ground, name, **LESS)


async def deleted_after(ground: Arena, name: str) -> None:
    await ground.create(name, **FULL)
    await settle(ground, name)
    await ground.delete(ground.ref(name))


@pytest.mark.parametrize("before", [made, changed_after, deleted_after], ids=["create", "update", "delete"])
async def test_a_crash_after_any_call_ends_in_the_same_state(ground: Arena, before: Any) -> None:
    await before(ground, "undisturbed")
    await settle(ground, "undisturbed")
    expected = await picture(ground, "undisturbed")
    crashes = 0
    for lives in range(1, 100):
        name = f"w{lives}"
        await before(ground, name)
        try:
            await settle(ground, name, lives=lives)
        except Crash:
            crashes += 1
        else:
            break
        await settle(ground, name)
        assert await picture(ground, name) == expected, f"after a crash at call {lives}"
    assert crashes >= 4


async def test_what_was_made_before_a_crash_and_is_not_wanted_after_it_is_pruned(ground: Arena) -> None:
    crashes = 0
    for lives in range(1, 100):
        name = f"w{lives}"
        await ground.create(name, **FULL)
        try:
            await settle(ground, name, lives=lives)
        except Crash:
            crashes += 1
        else:
            break
        await update(ground, name, **LESS)
        await settle(ground, name)
        assert await ground.client.get(ground.config_map(f"{name}-second")) is None, f"after a crash at call {lives}"
        assert (await picture(ground, name))["inventory"] == [("ConfigMap", ""), ("Secret", "-auth")]
    assert crashes >= 6


async def test_a_settled_object_is_looked_at_without_a_write(ground: Arena) -> None:
    await ground.create("w", **FULL)
    await settle(ground, "w")
    before = await ground.versions()
    async with reconciler(ground) as look:
        for _ in range(3):
            assert (await look.reconcile(ground.ref("w"))).result == "unchanged"
        assert writes(parse_metrics(look.client.metrics.text().decode())) == 0
    assert await ground.versions() == before


async def test_drift_is_repaired_and_what_others_added_is_left(ground: Arena) -> None:
    await ground.create("w", data={"a": "1"})
    await settle(ground, "w")
    ref = ground.config_map("w")
    there = await ground.client.get(ref)
    assert there is not None
    await ground.client.replace(
        ref, {**there, "data": {"a": "tampered", "theirs": "x"}, "metadata": {**there["metadata"], "labels": {}}}
    )
    await settle(ground, "w")
    repaired = await ground.client.get(ref)
    assert repaired is not None
    assert repaired["data"] == {"a": "1", "theirs": "x"}
    assert repaired["metadata"]["labels"] == there["metadata"]["labels"]


async def test_a_deleted_object_is_made_again(ground: Arena) -> None:
    await ground.create("w", data={"a": "1"})
    await settle(ground, "w")
    await ground.delete(ground.config_map("w"))
    await settle(ground, "w")
    assert (await ground.client.get(ground.config_map("w"))) is not None


async def test_a_field_that_is_no_longer_wanted_is_withdrawn(ground: Arena) -> None:
    await ground.create("w", data={"a": "1", "b": "2"})
    await settle(ground, "w")
    await update(ground, "w", data={"a": "1"})
    await settle(ground, "w")
    there = await ground.client.get(ground.config_map("w"))
    assert there is not None
    assert there["data"] == {"a": "1"}


async def test_an_object_of_somebody_else_is_left_alone_and_named(ground: Arena) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w"}, "data": {"theirs": "yes"}}
    await ground.client.create(CONFIG_MAPS, ground.namespace, theirs)
    await ground.create("w", data={"a": "1"})
    outcome = await settle(ground, "w")
    assert outcome.retry
    told = await ready(ground, "w")
    assert (told["status"], told["reason"]) == ("False", "Conflict")
    assert f"ConfigMap {ground.namespace}/w exists and was not made for Widget {ground.namespace}/w" in told["message"]
    there = await ground.client.get(ground.config_map("w"))
    assert there is not None
    assert there["data"] == {"theirs": "yes"}
    await ground.delete(ground.config_map("w"))
    await settle(ground, "w")
    assert (await ready(ground, "w"))["status"] == "True"


async def test_pruning_leaves_an_object_that_somebody_else_took_over(ground: Arena) -> None:
    await ground.create("w", **FULL)
    await settle(ground, "w")
    ref = ground.config_map("w-second")
    there = await ground.client.get(ref)
    assert there is not None
    meta = {k: v for k, v in there["metadata"].items() if k != "ownerReferences"}
    await ground.client.replace(ref, {**there, "metadata": meta})
    await update(ground, "w", **LESS)
    await settle(ground, "w")
    assert await ground.client.get(ref) is not None


class LastWork(WidgetKind):
    """Makes one more thing before it lets its object go, as a restore rolls back."""

    def plan(self, seen: Observation) -> Plan:
        plan = WidgetKind.plan(self, seen)
        if not seen.deleting:
            return plan
        metadata = {"namespace": seen.parent["metadata"]["namespace"], "name": "last"}
        return Plan(apply=[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}], finalizer=True)


async def test_a_namespace_that_is_deleted_does_not_wait_for_last_work_that_it_forbids(ground: Arena) -> None:
    await ground.create("w", data={"a": "1"}, finalizer=True)
    await settle(ground, "w")
    await ground.delete(Ref(NAMESPACES, "", ground.namespace))

    async def going() -> bool:
        there = await ground.client.get(ground.ref("w"))
        return there is None or "deletionTimestamp" in there["metadata"]

    await eventually(going, 30, "the Widget is being deleted with its namespace")
    assert (await settle(ground, "w", kind=LastWork(ground.group))).result == "gone"
    assert await ground.until_gone(ground.ref("w"), timeout_s=10)


async def test_a_generated_secret_outlives_its_object_and_is_taken_up_again(ground: Arena) -> None:
    secret = Ref(SECRETS, ground.namespace, "w-auth")
    await ground.create("w", password=True)
    await settle(ground, "w")
    first = await ground.client.get(secret)
    assert first is not None
    await ground.delete(ground.ref("w"))
    assert await ground.until_gone(ground.config_map("w"), timeout_s=60), "the garbage collector's part"
    await ground.create("w", password=True)
    await settle(ground, "w")
    second = await ground.client.get(secret)
    assert second is not None
    assert second["data"] == first["data"]


async def test_two_operators_at_once_agree_on_a_generated_secret(ground: Arena) -> None:
    secret = Ref(SECRETS, ground.namespace, "w-auth")
    for round_ in range(5):
        name = f"w{round_}"
        secret = Ref(SECRETS, ground.namespace, f"{name}-auth")
        await ground.create(name, password=True)

        async def look(name: str = name, secret: Ref = secret) -> object:
            with contextlib.suppress(ApiError):
                async with reconciler(ground) as one:
                    outcome = await one.reconcile(ground.ref(name))
                    there = await ground.client.get(secret)
                    if there is not None and there.get("data") and not outcome.retry:
                        return there["data"]
            return None

        seen = [s for s in await asyncio.gather(*(look() for _ in range(4))) if s is not None]
        await settle(ground, name)
        final = await ground.client.get(secret)
        assert final is not None
        assert seen
        assert all(s == final["data"] for s in seen)


async def test_a_stall_says_what_to_change_and_asks_for_no_retry(ground: Arena) -> None:
    await ground.create("w", stall="spec.stall must go")
    outcome = await settle(ground, "w")
    assert (outcome.result, outcome.retry) == ("stalled", False)
    widget = await ground.client.get(ground.ref("w"))
    assert widget is not None
    told = {c["type"]: (c["status"], c["message"]) for c in widget["status"]["conditions"]}
    assert told["Stalled"] == ("True", "spec.stall must go")
    assert told["Ready"] == ("False", "spec.stall must go")
    assert told["Reconciling"][0] == "False"


async def test_a_fault_of_the_operator_is_told_without_its_text(ground: Arena) -> None:
    await ground.create("w", bug=True)
    assert (await settle(ground, "w")).retry
    told = await ready(ground, "w")
    assert told["reason"] == "InternalError"
    assert "RuntimeError in widget.py:" in told["message"]
    assert "that this Widget brings out" not in told["message"]


async def test_what_the_api_server_refuses_is_told_in_its_words_and_stalls(ground: Arena) -> None:
    await ground.create("w", data={"not a key": "x"})
    outcome = await settle(ground, "w")
    assert (outcome.result, outcome.retry) == ("failed", False)
    assert (await picture(ground, "w"))["conditions"]["Stalled"] == ("True", "Invalid")
    told = await ready(ground, "w")
    assert 'Invalid value: "not a key"' in told["message"]


async def test_transitions_are_told_as_events(ground: Arena) -> None:
    await ground.create("w", data={"a": "1"})
    await settle(ground, "w")
    await update(ground, "w", stall="change it")
    await settle(ground, "w")
    events = await ground.client.find(Query(EVENTS, ground.namespace))
    told = sorted((e["type"], e["reason"], e["note"]) for e in events if e["regarding"]["name"] == "w")
    assert told == [
        ("Normal", "Applied", "Ready is True: everything is there"),
        ("Warning", "Refused", "Ready is False: change it"),
        ("Warning", "Refused", "Stalled is True: change it"),
    ]


@dataclass(frozen=True, slots=True)
class ScaledKind(WidgetKind):
    """Makes a Deployment whose replicas are only given at the start."""

    @property
    def owned(self) -> Sequence[Resource]:
        return (DEPLOYMENTS,)

    def plan(self, seen: Observation) -> Plan:
        meta = {"namespace": seen.parent["metadata"]["namespace"], "name": seen.parent["metadata"]["name"]}
        labels = {"widget": meta["name"]}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none.invalid/none"}]}}
        spec = {"selector": {"matchLabels": labels}, "template": pod}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
        ref = Ref(DEPLOYMENTS, meta["namespace"], meta["name"])
        return Plan(apply=[deployment], initial={ref: {"spec": {"replicas": 0}}})


async def replicas(ground: Arena, name: str) -> Any:
    there = await ground.client.get(Ref(DEPLOYMENTS, ground.namespace, name))
    assert there is not None
    assert INITIAL_ANNOTATION in there["metadata"]["annotations"]
    return there["spec"]["replicas"]


async def test_initial_fields_belong_to_whoever_changes_them_later(ground: Arena) -> None:
    kind = ScaledKind(ground.group)
    await ground.create("w")
    await settle(ground, "w", kind=kind)
    assert await replicas(ground, "w") == 0
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": 2}}
    await ground.client.apply(Ref(DEPLOYMENTS, ground.namespace, "w"), body, manager="a-person")
    assert (await settle(ground, "w", kind=kind)).result == "unchanged"
    assert await replicas(ground, "w") == 2


async def test_a_crash_between_creation_and_initial_fields_is_made_good(ground: Arena) -> None:
    kind = ScaledKind(ground.group)
    for lives in range(1, 20):
        name = f"w{lives}"
        await ground.create(name)
        try:
            await settle(ground, name, kind=kind, lives=lives)
        except Crash:
            await settle(ground, name, kind=kind)
            assert await replicas(ground, name) == 0
        else:
            return
    raise AssertionError("it never got through")
