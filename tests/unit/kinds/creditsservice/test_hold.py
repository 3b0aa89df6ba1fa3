"""What a CreditsService does while a Restore has its database to itself."""

from shieldx_operator.blocks import hold
from tests.unit.kinds.creditsservice.world import finish_job, make_stores_ready, running, world
from tests.unit.kinds.world import World

HOLD = hold.ref("team", "pay")


def take(w: World) -> None:
    w.objects[HOLD] = {"kind": "ConfigMap", "metadata": {"name": HOLD.name}, "data": {"restore": "undo"}}


def test_its_pods_stop_and_it_says_for_whom() -> None:
    w = running()
    take(w)
    w.step()
    assert w.one("Deployment", "pay")["spec"]["replicas"] == 0
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "HeldByRestore")
    assert "undo" in ready.message
    assert w.condition("Stalled").status == "False"


def test_its_pods_are_the_autoscalers_again_when_the_hold_is_gone() -> None:
    w = running()
    before = w.plan()
    take(w)
    w.step()
    del w.objects[HOLD]
    w.step()
    assert w.one("Deployment", "pay")["spec"]["replicas"] == 1, "an autoscaler does not wake what has none"
    built = [o for o in w.plan().apply if isinstance(o, dict) and o["kind"] == "Deployment"]
    assert "replicas" not in built[0]["spec"]
    assert built == [o for o in before.apply if isinstance(o, dict) and o["kind"] == "Deployment"]


def test_a_hold_that_is_being_deleted_holds_no_more() -> None:
    w = running()
    take(w)
    w.objects[HOLD]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    built = [o for o in w.plan().apply if isinstance(o, dict) and o["kind"] == "Deployment"]
    assert "replicas" not in built[0]["spec"]


def test_a_new_service_brings_up_no_schema_and_no_pod_before_it_is_filled() -> None:
    w = world()
    take(w)
    w.step()
    make_stores_ready(w)
    w.step()
    w.step()
    assert w.lists["jobs"] == []
    assert not [r for r in w.objects if r.resource.kind == "Deployment"]
    assert w.one("StatefulSet", "pay-db")
    del w.objects[HOLD]
    w.step()
    finish_job(w)
    w.step()
    assert w.one("Deployment", "pay")
