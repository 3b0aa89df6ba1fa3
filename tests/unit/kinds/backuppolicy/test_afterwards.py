"""What follows a copy: drills, pruning and a bounded history."""

import copy
from datetime import timedelta

from tests.unit.kinds.backuppolicy.world import HOUR, Keeping, no_audit
from tests.unit.kinds.backups import environment
from tests.unit.kinds.world import START


def test_the_history_is_bounded_and_a_failure_pushes_no_success_out() -> None:
    w = no_audit(history={"succeeded": 2, "failed": 1})
    w.prove()
    for n in range(1, 7):
        w.now = START + timedelta(hours=6 * n)
        w.settle()
        w.finish(w.names("backups")[-1], failed="NoSpace" if n in (3, 4, 6) else "")
        w.prove()
    phases = [b["status"]["phase"] for b in w.lists["backups"]]
    assert sorted(phases) == ["Failed", "Succeeded", "Succeeded"]
    assert w.told["failures"] == {"NoSpace": 1}


def test_an_object_that_is_made_on_demand_is_never_a_part_of_the_history() -> None:
    w = no_audit(history={"succeeded": 1})
    w.prove()
    w.lists["backups"].insert(
        0, {"kind": "Backup", "metadata": {"name": "mine"}, "spec": {"policyRef": {"name": "nightly"}}}
    )
    w.finish("mine")
    for n in range(1, 4):
        w.now = START + timedelta(hours=6 * n)
        w.prove()
    assert "mine" in w.names("backups")


def test_the_first_verified_copy_is_restored_at_once_into_a_database_of_the_pods_own() -> None:
    w = Keeping()
    w.settle()
    w.finish("nightly-db-202601010000")
    w.settle()
    job = w.lists["jobs"][0]
    assert job["metadata"]["name"] == "nightly-drill-202601010000"
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][-2:] == ["drill", "--json"]
    postgres = pod["initContainers"][0]
    assert postgres["restartPolicy"] == "Always"
    assert "listen_addresses=127.0.0.1" in postgres["args"]
    assert environment(job)["SHIELDX_BACKUP_SCRATCH_URI_FILE"] == "/etc/shieldx/secrets/scratch/uri"
    assert "SHIELDX_DATABASE_URI_FILE" not in environment(job)
    assert not [v for v in pod["volumes"] if v.get("secret", {}).get("secretName") == "credits-db"]


def test_a_drill_gives_the_measured_rto_and_rpo() -> None:
    w = Keeping()
    w.prove()
    assert (w.told["rto"], w.told["rpo"]) == ("12.5s", "3s")
    assert w.told["drill"]["forBackup"] == "nightly-db-202601010000"
    assert w.condition("Restorable").status == "True"
    assert w.condition("ObjectivesMet").status == "True"
    assert w.condition("Ready").status == "True"


def test_a_drill_that_proves_nothing_makes_the_policy_not_ready_and_is_done_again_by_schedule() -> None:
    w = Keeping()
    w.settle()
    w.ship()
    w.finish("nightly-db-202601010000")
    w.settle()
    w.finish_job("nightly-drill-202601010000", failed="NotProved")
    w.settle()
    assert w.condition("Restorable").status == "False"
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "DrillFailed")
    w.pass_time(3.5 * HOUR)
    w.prove()
    assert "nightly-drill-202601010330" in w.names("jobs")
    assert w.condition("Ready").status == "True"
    assert "failure" not in w.told["drill"]


def test_what_a_drill_said_outlives_its_job() -> None:
    w = Keeping()
    w.prove()
    before = copy.deepcopy(w.told)
    w.lists["jobs"].clear()
    w.lists["pods"].clear()
    w.settle()
    assert w.told["drill"] == before["drill"]
    assert w.names("jobs") == []


def test_pruning_follows_each_newly_verified_copy_and_no_other() -> None:
    w = no_audit()
    w.settle()
    w.finish("nightly-db-202601010000", failed="WrongKey")
    w.settle()
    assert w.names("jobs") == []
    w.pass_time(6 * HOUR)
    w.settle()
    w.finish("nightly-db-202601010600")
    w.settle()
    pruning = w.lists["jobs"][0]
    containers = pruning["spec"]["template"]["spec"]["containers"]
    assert [c["command"][-3:] for c in containers] == [
        ["--stream", s, "--json"] for s in ("database", "cache", "audit")
    ]
    assert environment(pruning)["SHIELDX_BACKUP_KEEP_DAYS"] == "30"
    w.finish_job(pruning["metadata"]["name"], container="database")
    w.pass_time(HOUR)
    w.settle()
    assert len(w.names("jobs")) == 1
    assert w.condition("RetentionApplied").status == "True"


def test_a_pruning_that_fails_is_told_although_the_copies_are_good() -> None:
    w = no_audit()
    w.settle()
    w.finish("nightly-db-202601010000")
    w.settle()
    w.finish_job(w.names("jobs")[0], failed="DestinationUnavailable", container="audit")
    w.settle()
    assert w.condition("RetentionApplied").reason == "DestinationUnavailable"
    assert w.condition("Ready").reason == "PruneFailed"
