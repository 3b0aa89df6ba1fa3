import copy
import json
from typing import Any

import pytest

from shieldx_operator.blocks import hold, stores
from shieldx_operator.blocks.resources import CONFIG_MAP, JOB, SECRET, ref_of
from shieldx_operator.engine.types import Obj, Plan, Ref
from shieldx_operator.kinds.restore import RestoreKind
from shieldx_operator.kinds.restore.view import BACKUP_RESOURCE, POLICY_RESOURCE
from tests.unit.kinds.test_backup import POLICY, credits_service, environment
from tests.unit.kinds.world import SETTINGS, World, secret

IN_PLACE: Obj = {
    "source": {"policyRef": {"name": "nightly"}},
    "target": {"name": "credits", "mode": "InPlace"},
    "confirm": "credits",
}
NEW: Obj = {"source": {"policyRef": {"name": "nightly"}}, "target": {"name": "second", "mode": "NewService"}}
RESULT: Obj = {
    "backup": "20260101T000000Z-1a2b3c4d",
    "taken_at": "2026-01-01T00:00:00.000Z",
    "replayed": {"segments": 2, "rows": 40, "to": "2026-01-01T00:05:00.000Z"},
    "safety_copy": "credits_before_1",
    "restore_s": 8.5,
    "timeline": [{"at_s": 0.1, "step": "writers stopped", "database": "credits_before_1"}],
}
HOLD = hold.ref("team", "credits")


def pod(name: str, component: str, phase: str = "Running") -> Obj:
    labels = {"app.kubernetes.io/component": component}
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}


class Restoring(World):
    """A world with one Restore, the policy and the service that it speaks of, and pods that write."""

    def __init__(self, spec: Obj = IN_PLACE) -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "Restore",
            "metadata": {"namespace": "team", "name": "undo", "uid": "u1", "generation": 1},
            "spec": copy.deepcopy(spec),
        }
        super().__init__(RestoreKind(SETTINGS), parent)
        self.lists |= {"service pods": [], "copying pods": [], "policies": [POLICY], "Job warnings": []}
        self.put(POLICY_RESOURCE, "nightly", copy.deepcopy(POLICY))
        for name in ("credits", "second"):
            service = credits_service()
            service["metadata"]["name"] = name
            self.put(stores.CREDITS_RESOURCE, name, service)
            for store in ("db", "cache"):
                self.put(SECRET, f"{name}-{store}", secret("team", f"{name}-{store}", {"uri": "postgresql://h/d"}))
        self.put(SECRET, "keys", secret("team", "keys", {"k1": "x"}))
        self.put(SECRET, "s3", secret("team", "s3", {"access-key-id": "a", "secret-access-key": "b"}))

    def put(self, resource: Any, name: str, obj: Obj) -> None:
        self.objects[Ref(resource, "team", name)] = obj

    def step(self) -> Plan:
        """As the engine does it: what is neither planned nor kept is gone; then it tells."""
        plan = super().step()
        wanted = {ref_of(o) for o in plan.apply if isinstance(o, dict)} | set(plan.keep)
        for ref in [r for r in self.objects if r.name.startswith("undo-") or r in (HOLD, SECOND_HOLD)]:
            if ref not in wanted:
                del self.objects[ref]
        self.status()
        return plan

    def settle(self) -> Plan:
        for _ in range(6):
            before = copy.deepcopy((self.parent.get("status"), self.objects))
            plan = self.step()
            if before == (self.parent["status"], self.objects):
                return plan
        raise AssertionError("it does not settle")

    def job(self, name: str = "restore") -> Obj | None:
        return self.objects.get(Ref(JOB, "team", f"undo-{name}"))

    def end(self, document: Obj | None, *, name: str = "restore", code: int = 0) -> None:
        job = self.job(name)
        assert job is not None
        job["status"] = {"conditions": [{"type": "Failed" if code else "Complete", "status": "True"}]}
        text = json.dumps(document) if document is not None else None
        end = {"exitCode": code, "message": text, "finishedAt": "2026-01-01T00:09:00Z"}
        made = pod(f"p-{name}", "restore", "Failed" if code else "Succeeded")
        made["metadata"]["labels"]["batch.kubernetes.io/job-name"] = f"undo-{name}"
        made["status"]["containerStatuses"] = [{"name": "backup", "state": {"terminated": end}}]
        self.lists["pods"].append(made)

    @property
    def told(self) -> Obj:
        told: Obj = self.parent["status"]
        return told


SECOND_HOLD = hold.ref("team", "second")


def command(job: Obj | None) -> list[str]:
    assert job is not None
    found: list[str] = job["spec"]["template"]["spec"]["containers"][0]["command"][4:]
    return found


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


def test_a_restore_that_is_proved_is_told_and_gives_the_service_back() -> None:
    w = Restoring()
    w.settle()
    w.end(RESULT)
    w.settle()
    told = w.told
    assert told["phase"] == "Succeeded"
    assert (told["backupID"], told["replayedTo"], told["replayedRows"]) == (
        RESULT["backup"],
        RESULT["replayed"]["to"],
        40,
    )
    assert (told["safetyCopy"], told["durationSeconds"]) == ("credits_before_1", 8.5)
    assert told["timeline"] == ["0.1 s: writers stopped (database credits_before_1)"]
    assert HOLD not in w.objects
    assert w.plan().finalizer is False
    assert w.condition("Ready").status == "True"


def test_the_service_is_held_until_the_end_is_told() -> None:
    w = Restoring()
    w.settle()
    w.end(RESULT)
    assert HOLD in {ref_of(o) for o in w.plan().apply if isinstance(o, dict)}


def test_a_restore_in_place_that_failed_is_rolled_back_before_the_service_comes_back() -> None:
    w = Restoring()
    w.settle()
    w.end({"failed": "NotProved", "message": "sums differ", "exit_code": 9}, code=9)
    w.settle()
    assert w.told["phase"] == "RollingBack"
    assert HOLD in w.objects
    assert command(w.job("rollback")) == ["restore", "--rollback", "--json"]
    w.end({"rolled_back": True, "restored_database": "credits_before_1"}, name="rollback")
    w.settle()
    assert w.told["phase"] == "Failed"
    assert w.told["failure"] == {"reason": "NotProved", "message": "sums differ"}
    assert "credits_before_1" in w.told["rolledBack"]
    assert HOLD not in w.objects
    assert w.plan().finalizer is False


def test_what_a_rollback_could_not_drop_is_told_and_it_is_a_rollback_all_the_same() -> None:
    w = Restoring()
    w.settle()
    w.end({"failed": "NoSpace", "message": "full", "exit_code": 11}, code=11)
    w.settle()
    w.end({"rolled_back": True, "restored_database": "credits_before_1", "message": "one stays"}, name="rollback")
    w.settle()
    assert w.told["rolledBack"].endswith("has its place again; one stays")


def test_a_rollback_gets_the_database_and_no_key_no_destination_and_no_cache() -> None:
    w = Restoring()
    w.settle()
    w.end({"failed": "Damaged", "message": "altered", "exit_code": 4}, code=4)
    w.settle()
    job = w.job("rollback")
    assert job is not None
    spec = job["spec"]["template"]["spec"]
    assert {v["name"] for v in spec["volumes"]} == {"database", "tmp"}
    names = {e["name"] for e in spec["containers"][0]["env"]}
    assert names == {"SHIELDX_BACKUP_RESULT_FILE", "SHIELDX_DATABASE_URI_FILE"}


def test_a_damaged_copy_is_not_tried_again() -> None:
    w = Restoring()
    w.settle()
    job = w.job()
    assert job is not None
    (given_up,) = job["spec"]["podFailurePolicy"]["rules"]
    assert 4 in given_up["onExitCodes"]["values"]


def test_the_program_is_told_what_its_scratch_volume_may_hold() -> None:
    w = Restoring({**IN_PLACE, "scratchSize": "1.5Gi"})
    w.settle()
    job = w.job()
    assert job is not None
    env = {e["name"]: e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["SHIELDX_BACKUP_SCRATCH_BYTES"] == str(1536 << 20)


def test_a_restore_that_rolled_itself_back_has_nothing_left_to_roll_back() -> None:
    w = Restoring()
    w.settle()
    w.end({"failed": "WrongKey", "message": "m", "exit_code": 3}, code=3)
    w.settle()
    w.end({"rolled_back": False, "message": "there is nothing to roll back"}, name="rollback")
    w.settle()
    assert w.told["rolledBack"] == "there is nothing to roll back"


def test_a_job_that_was_killed_is_rolled_back_too() -> None:
    w = Restoring()
    w.settle()
    w.end(None, code=137)
    w.settle()
    assert w.job("rollback") is not None


def test_a_new_service_that_was_not_filled_is_left_to_be_looked_at() -> None:
    w = Restoring(NEW)
    w.settle()
    w.end({"failed": "BadSetting", "message": "it has tables", "exit_code": 2}, code=2)
    w.settle()
    assert w.told["phase"] == "Failed"
    assert w.job("rollback") is None
    assert SECOND_HOLD not in w.objects


def delete(w: Restoring) -> None:
    w.parent["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"


def test_deleted_before_it_began_it_goes_at_once() -> None:
    w = Restoring()
    w.lists["service pods"] = [pod("credits-1", "api")]
    w.settle()
    delete(w)
    assert w.plan() == Plan(finalizer=False)


def test_deleted_half_way_it_ends_its_job_rolls_back_and_only_then_gives_the_service_back() -> None:
    w = Restoring()
    w.settle()
    delete(w)
    running = pod("p", "restore")
    running["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "undo-restore"
    w.lists["pods"] = [running]
    plan = w.step()
    assert plan.finalizer is True
    assert w.job() is None
    assert w.job("rollback") is None
    assert HOLD in w.objects
    w.lists["pods"] = []
    w.step()
    assert w.job("rollback") is not None
    assert HOLD in w.objects
    w.end({"rolled_back": True, "restored_database": "d"}, name="rollback")
    assert w.plan().finalizer is False


def test_what_has_ended_is_told_again_without_its_pods() -> None:
    w = Restoring()
    w.settle()
    w.end(RESULT)
    w.settle()
    before = copy.deepcopy(w.told)
    w.lists["pods"] = []
    w.settle()
    assert w.told == before
