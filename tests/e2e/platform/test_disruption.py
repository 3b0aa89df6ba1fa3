"""Planned disruptions: what an eviction, as the drain of a node makes it, may take away."""

import requests

from shieldx_operator.blocks.resources import PDB
from shieldx_operator.engine.client import path_of
from tests.e2e.platform.conftest import SERVICE, Running
from tests.e2e.platform.world import Obj, Resource, World, value
from tests.e2e.waiting import until

POD_PATH = Resource("", "v1", "Pod", "pods")


def evict(world: World, pod: Obj) -> requests.Response:
    name = pod["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": world.namespace}}
    return world.call("POST", path_of(POD_PATH, world.namespace, name, "eviction"), body)


def settled(world: World, allowed: int) -> Obj:
    """The budget once its controller has seen the present pods and spec."""
    ref = world.ref(PDB, SERVICE)

    def seen() -> Obj | None:
        live = world.get(ref)
        now = value(live, ("status", "observedGeneration")) == live["metadata"]["generation"]
        return live if now and value(live, ("status", "disruptionsAllowed")) == allowed else None

    return until(f"{ref} allows {allowed}", seen, 60)


def test_an_eviction_that_would_leave_too_few_pods_is_refused_and_another_allowed(running: Running) -> None:
    world = running.world
    until("two pods", lambda: len(world.pods(SERVICE, "api")) == 2, 30)
    budget = settled(world, allowed=1)
    assert budget["spec"]["minAvailable"] == 1
    first, second = world.pods(SERVICE, "api")
    allowed = evict(world, first)
    assert allowed.status_code == 201, allowed.text
    refused = evict(world, second)
    assert refused.status_code == 429
    assert "disruption budget" in refused.json()["message"]
    balance = running.balance()
    running.ready()
    settled(world, allowed=1)
    assert second["metadata"]["uid"] in {p["metadata"]["uid"] for p in world.pods(SERVICE, "api")}
    assert running.balance() == balance


def test_pods_of_the_stores_may_be_evicted_when_no_budget_names_them(running: Running) -> None:
    """One pod can have no budget that is ever kept: a node could never be drained."""
    labels = {"app.kubernetes.io/component": "api"}
    for budget in running.world.all(PDB):
        assert labels.items() <= budget["spec"]["selector"]["matchLabels"].items()
