"""How a restore begins: what it refuses, whom it holds, and what it asks of its Job."""

import pytest

from shieldx_operator.blocks import hold, stores
from shieldx_operator.blocks.resources import CONFIG_MAP, SECRET
from shieldx_operator.engine.types import Obj, Ref
from shieldx_operator.kinds.restore.view import BACKUP_RESOURCE, POLICY_RESOURCE
from tests.unit.kinds.backups import environment
from tests.unit.kinds.restore.world import HOLD, IN_PLACE, NEW, SECOND_HOLD, Restoring, command, pod


def test_the_service_is_held_before_anything_begins_and_the_hold_tells_service_and_policies() -> None:
    w = Restoring()
    w.lists["service pods"] = [pod("credits-1", "api")]
    w.settle()
    held = w.objects[HOLD]
    assert held["data"] == {"restore": "undo"}
    concerned = held["metadata"]["annotations"]["platform.shieldx.io/concerns"]
    assert concerned == "CreditsService/credits BackupPolicy/nightly"
    assert w.job() is None
    assert w.told["phase"] == "Stopping"
    assert "credits-1" in w.condition("Ready").message


@pytest.mark.parametrize("component", ["api", "run", "ship-audit", "prune"])
def test_nothing_is_restored_while_somebody_writes(component: str) -> None:
    w = Restoring()
    listed = "service pods" if component == "api" else "copying pods"
    w.lists[listed] = [pod("writer", component)]
    w.settle()
    assert w.job() is None
    w.lists[listed] = [pod("writer", component, "Succeeded")]
    w.settle()
    assert w.job() is not None


def test_a_drill_disturbs_no_restore() -> None:
    w = Restoring()
    w.lists["copying pods"] = [pod("d", "drill")]
    w.settle()
    assert w.job() is not None


def test_in_place_the_newest_verified_copy_replaces_the_database_that_was_confirmed() -> None:
    w = Restoring()
    plan = w.settle()
    assert plan.finalizer is True
    assert command(w.job()) == ["restore", "latest", "--in-place", "--confirm", "team.credits", "--json"]
    env = environment(w.job() or {})
    assert env["SHIELDX_BACKUP_SERVICE"] == "team.credits"
    assert {"SHIELDX_DATABASE_URI_FILE", "SHIELDX_CACHE_URI_FILE"} <= env.keys()
    assert "SHIELDX_BACKUP_TARGET_URI_FILE" not in env


def test_a_time_a_copy_and_no_replay_are_passed_on() -> None:
    source = {
        "policyRef": {"name": "nightly"},
        "backupID": "20260101T000000Z-1a2b3c4d",
        "until": "2026-01-01T00:00:00Z",
        "replay": False,
    }
    w = Restoring({**IN_PLACE, "source": source})
    w.settle()
    told = command(w.job())
    assert told[1] == source["backupID"]
    assert told[-4:] == ["--until", "2026-01-01T00:00:00Z", "--no-replay", "--json"]


def test_a_new_service_is_filled_from_the_copies_of_the_old_one() -> None:
    w = Restoring(NEW)
    plan = w.settle()
    assert not plan.finalizer
    assert SECOND_HOLD in w.objects
    env = environment(w.job() or {})
    assert command(w.job()) == ["restore", "latest", "--json"]
    assert env["SHIELDX_BACKUP_SERVICE"] == "team.credits"
    assert env["SHIELDX_BACKUP_TARGET_URI_FILE"].endswith("/uri")
    secrets = {
        v["secret"]["secretName"] for v in (w.job() or {})["spec"]["template"]["spec"]["volumes"] if "secret" in v
    }
    assert "second-db" in secrets
    assert "credits-db" not in secrets


def test_a_backup_knows_its_own_place_when_its_policy_is_gone() -> None:
    w = Restoring()
    w.settle()
    effective = {k: v for k, v in w.told["effective"].items() if k not in ("source", "target", "scratchSize")}
    again = Restoring({**IN_PLACE, "source": {"backupRef": {"name": "b"}}})
    del again.objects[Ref(POLICY_RESOURCE, "team", "nightly")]
    status = {"phase": "Succeeded", "backupID": "20260101T000000Z-1a2b3c4d"}
    again.put(BACKUP_RESOURCE, "b", {"status": {**status, "effective": {**effective, "stream": "database"}}})
    again.settle()
    assert command(again.job())[1] == "20260101T000000Z-1a2b3c4d"
    assert environment(again.job() or {})["SHIELDX_BACKUP_DESTINATION"] == "s3://copies"


@pytest.mark.parametrize(
    ("status", "reason"),
    [({"phase": "Failed"}, "CopyNotUsable"), ({}, "CopyNotUsable")],
)
def test_a_backup_that_did_not_succeed_is_refused_and_stops_no_service(status: Obj, reason: str) -> None:
    w = Restoring({**IN_PLACE, "source": {"backupRef": {"name": "b"}}})
    w.put(BACKUP_RESOURCE, "b", {"status": status})
    w.settle()
    assert w.condition("Stalled").reason == reason
    assert HOLD not in w.objects


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({**IN_PLACE, "target": {"name": "second", "mode": "InPlace"}, "confirm": "second"}, "WrongTarget"),
        ({**NEW, "target": {"name": "credits", "mode": "NewService"}}, "WrongTarget"),
        ({**IN_PLACE, "source": {"policyRef": {"name": "none"}}}, "CopyNotFound"),
    ],
)
def test_what_cannot_be_restored_is_refused_with_the_remedy_and_stops_no_service(spec: Obj, reason: str) -> None:
    w = Restoring(spec)
    w.settle()
    assert (w.condition("Stalled").status, w.condition("Stalled").reason) == ("True", reason)
    assert not [r for r in w.objects if r.resource == CONFIG_MAP]


def test_a_service_that_is_not_there_yet_is_held_before_it_can_bring_up_a_schema() -> None:
    w = Restoring({**NEW, "target": {"name": "none", "mode": "NewService"}})
    w.settle()
    assert w.condition("Stalled").reason == "TargetNotFound"
    held = hold.ref("team", "none")
    assert w.objects[held]["data"] == {"restore": "undo"}
    # it is there and tells nothing yet
    w.put(stores.CREDITS_RESOURCE, "none", {"spec": {}})
    w.settle()
    assert held in w.objects
    # and where somebody else holds it, that one is not pushed out
    w.objects[held]["data"]["restore"] = "another"
    assert not w.plan().apply


def test_a_service_that_is_up_already_is_not_stopped_before_everything_else_is_in_order() -> None:
    w = Restoring(NEW)
    del w.objects[Ref(SECRET, "team", "keys")]
    w.settle()
    assert w.condition("Stalled").reason == "SecretNotFound"
    assert SECOND_HOLD not in w.objects


def test_a_second_restore_of_a_service_waits_for_the_first() -> None:
    w = Restoring()
    w.objects[HOLD] = {"metadata": {"name": HOLD.name}, "data": {"restore": "first"}}
    plan = w.plan()
    assert not plan.apply
    w.parent["status"] = {}
    for _ in range(3):
        w.status()
    assert w.condition("Ready").reason == "RestoreRuns"
    assert w.condition("Stalled").status == "False"


def test_the_program_is_told_what_its_scratch_volume_may_hold() -> None:
    w = Restoring({**IN_PLACE, "scratchSize": "1.5Gi"})
    w.settle()
    job = w.job()
    assert job is not None
    env = {e["name"]: e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["SHIELDX_BACKUP_SCRATCH_BYTES"] == str(1536 << 20)
