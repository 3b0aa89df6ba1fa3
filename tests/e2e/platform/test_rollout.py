"""A change of the pods, and of what they stand on, while calls come in all the time."""

import time

import pytest

from shieldx_operator.blocks.resources import DEPLOYMENT, POD
from tests.e2e.platform.clients import RATE_PER_S, Load
from tests.e2e.platform.conftest import SERVICE, TENANT, Running
from tests.e2e.platform.world import World, condition
from tests.e2e.waiting import until


def revision_pods(world: World) -> set[str]:
    return {p["metadata"]["uid"] for p in world.pods(SERVICE, "api")}


def assert_charged_once(running: Running, load: Load, balance_before: int) -> None:
    """Each 200 is in the ledger once and by its own transaction, and the balance is what the ledger says."""
    ledger = running.ledger()
    sent = {r["key"] for r in load.results}
    charged = {key: transactions for key, transactions in ledger.items() if key in sent}
    doubled = {key for key, transactions in charged.items() if len(transactions) != 1}
    assert not doubled
    for result in load.answered(200):
        assert charged.get(result["key"]) == [result["transaction"]], result
    assert running.balance() == balance_before - len(charged)


@pytest.mark.usefixtures("replicas")
def test_a_rolling_update_of_three_replicas_under_load_loses_no_call_and_doubles_none(
    running: Running, charged: str
) -> None:
    """Calls on kept and on new connections, 50 a second from before the change until the last old pod is gone; beside
    them the crash oracle, with every call that moves credits.
    """
    world = running.world
    before, balance, old = world.get(world.ref(DEPLOYMENT, SERVICE)), running.balance(), revision_pods(world)
    with (
        running.client.oracle(charged, running.key_of(charged), "rollout") as oracle,
        running.client.load(TENANT, running.key) as load,
    ):
        time.sleep(2)
        start_s = time.monotonic()
        changed = {"settings": {"logLevel": "debug"}, "resources": {"requests": {"memory": "200Mi"}}}
        world.change(running.ref, {"spec": changed})
        running.ready()
        until("the old pods are gone", lambda: not old & all_pods(world), 120)
        took_s = time.monotonic() - start_s
        time.sleep(2)
    lost = [r for r in load.results if r["status"] != 200]
    world.tell(
        f"rolling update: {took_s:.1f} s at {RATE_PER_S}/s, {len(load.results)} calls, {len(lost)} lost: "
        f"{load.by_status()}; slowest answer {max(r['took_s'] for r in load.results):.2f} s; "
        f"the crash oracle: {len(oracle.intents)} wishes, {oracle.unanswered} without an answer at first"
    )
    assert not lost, load.trouble()
    assert_charged_once(running, load, balance)
    running.check(charged, oracle)
    assert len(oracle.intents) > took_s
    assert not old & revision_pods(world)
    live = world.get(world.ref(DEPLOYMENT, SERVICE))
    assert live["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (container,), (was,) = (d["spec"]["template"]["spec"]["containers"] for d in (live, before))
    assert (was["resources"]["requests"]["memory"], container["resources"]["requests"]["memory"]) == ("192Mi", "200Mi")
    assert len(load.results) > RATE_PER_S * took_s * 0.8, "the load must have been there all the time"


def all_pods(world: World) -> set[str]:
    """Also of those that are stopping."""
    labels = f"app.kubernetes.io/instance={SERVICE},app.kubernetes.io/component=api"
    return {p["metadata"]["uid"] for p in world.all(POD, labels)}


def replace_pod(world: World, component: str) -> float:
    """Deletes the one pod of a store; seconds until another is Ready."""
    (pod,) = world.pods(SERVICE, component)
    start_s = time.monotonic()
    world.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")

    def another() -> bool:
        found = [p for p in world.pods(SERVICE, component) if p["metadata"]["uid"] != pod["metadata"]["uid"]]
        return any(condition(p).get("status") == "True" for p in found)

    until(f"another pod of the {component} is Ready", another, 90)
    return time.monotonic() - start_s


def test_without_its_database_the_api_says_503_and_afterwards_each_key_has_one_outcome(
    running: Running, charged: str
) -> None:
    world, balance = running.world, running.balance()
    before = running.ledger()
    with (
        running.client.oracle(charged, running.key_of(charged), "database-away") as oracle,
        running.client.load(TENANT, running.key) as load,
    ):
        time.sleep(2)
        away_s = replace_pod(world, "database")
        until("calls are answered again", lambda: answers(running), 60)
        time.sleep(2)
    unavailable = load.answered(503)
    world.tell(
        f"database pod deleted: another Ready after {away_s:.1f} s; {len(load.results)} calls: {load.by_status()}; "
        f"slowest answer {max(r['took_s'] for r in load.results):.2f} s; "
        f"the crash oracle: {len(oracle.intents)} wishes, {oracle.unanswered} without an answer at first"
    )
    running.check(charged, oracle)
    assert oracle.unanswered, "the database must have been away"
    assert unavailable, "the database must have been away"
    assert set(load.by_status()) == {"200", "503"}, load.trouble()
    assert all(r["retry_after"] for r in unavailable)
    running.ready()
    again = running.client.again(TENANT, running.key, load.keys_without(200))
    assert again.by_status() == {"200": len(unavailable)}
    load.results = [*load.answered(200), *again.results]
    assert_charged_once(running, load, balance)
    after = running.ledger()
    assert {key: after[key] for key in before} == before, "the same data"


def answers(running: Running) -> bool:
    return bool(running.client.call(running.key, "GET", f"/credits/balance/{TENANT}")["status"] == 200)


def test_without_its_cache_the_api_makes_no_error(running: Running) -> None:
    world, balance = running.world, running.balance()
    with running.client.load(TENANT, running.key) as load:
        time.sleep(1)
        away_s = replace_pod(world, "cache")
        read = running.balance()
        time.sleep(1)
    world.tell(
        f"cache pod deleted: another Ready after {away_s:.1f} s; {len(load.results)} calls: {load.by_status()}; "
        f"slowest answer {max(r['took_s'] for r in load.results):.2f} s"
    )
    assert set(load.by_status()) == {"200"}, load.trouble()
    assert read <= balance
    assert_charged_once(running, load, balance)
