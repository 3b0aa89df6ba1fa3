"""How a restore ends: proved, rolled back, or given up half way; the service comes back only then."""

import copy

from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.engine.types import Plan
from tests.unit.kinds.restore.world import HOLD, NEW, RESULT, SECOND_HOLD, Restoring, command, pod


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
