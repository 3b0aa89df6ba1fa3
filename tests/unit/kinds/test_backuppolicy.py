import copy
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from shieldx_operator.blocks import hold, stores
from shieldx_operator.blocks.resources import DEPLOYMENT, SECRET, ref_of
from shieldx_operator.engine.measures import Measures
from shieldx_operator.engine.types import GeneratedSecret, Obj, Plan, Ref, Stall
from shieldx_operator.kinds.backuppolicy import BackupPolicyKind
from shieldx_operator.kinds.backuppolicy.facts import span_text
from shieldx_operator.kinds.backuppolicy.schedule import latest_due, next_due
from tests.unit.kinds.test_backup import POLICY, credits_service, environment
from tests.unit.kinds.world import SETTINGS, START, World, secret

HOUR = 3600


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


_SIZE: Obj = {"sizeBytes": 4096, "durationSeconds": 1.5}


class Keeping(World):
    """A world with one policy whose Backups, Jobs and shipper end when the test says so."""

    def __init__(self, **spec: Any) -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "BackupPolicy",
            "metadata": {
                "namespace": "team",
                "name": "nightly",
                "uid": "u1",
                "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": copy.deepcopy({**POLICY["spec"], "cache": {"enabled": False}, **spec}),
        }
        super().__init__(BackupPolicyKind(SETTINGS), parent)
        self.lists |= {"backups": []}
        self.objects[Ref(stores.CREDITS_RESOURCE, "team", "credits")] = credits_service()
        for held, values in {
            "keys": {"k1": "x"},
            "s3": {"access-key-id": "a", "secret-access-key": "b"},
            "credits-db": {"uri": "postgresql://u:p@credits-db.team.svc:5432/credits"},
            "credits-cache": {"uri": "redis://:p@credits-cache.team.svc:6379/0"},
        }.items():
            self.objects[Ref(SECRET, "team", held)] = secret("team", held, values)

    def step(self) -> Plan:
        """One look as the engine does it: apply, prune what is neither wanted nor kept, tell."""
        plan = self.plan()
        wanted = {r.name for r in plan.keep}
        for desired in plan.apply:
            body = self._secret(desired) if isinstance(desired, GeneratedSecret) else copy.deepcopy(desired)
            wanted.add(body["metadata"]["name"])
            body["metadata"] |= {"uid": f"uid-{body['metadata']['name']}", "creationTimestamp": self.now.isoformat()}
            if body["kind"] == "Backup":
                body["metadata"]["ownerReferences"] = [{"controller": True, "uid": "u1"}]
                if body["metadata"]["name"] not in self.names("backups"):
                    self.lists["backups"].append(body)
            elif body["kind"] == "Job":
                self.lists["jobs"].append(body)
            else:
                old = self.objects.get(ref_of(body), {})
                self.objects[ref_of(body)] = {**old, **body}
        for listed in ("backups", "jobs"):
            self.lists[listed] = [o for o in self.lists[listed] if o["metadata"]["name"] in wanted or _foreign(o)]
        self.status()
        return plan

    def settle(self) -> None:
        for _ in range(6):
            before = copy.deepcopy((self.parent.get("status"), self.lists))
            self.step()
            if before == (self.parent["status"], self.lists):
                return
        raise AssertionError("it does not settle")

    def names(self, listed: str) -> list[str]:
        return [o["metadata"]["name"] for o in self.lists[listed]]

    def ship(self) -> None:
        """The shipper's pod is up, where there is one."""
        live = self.objects.get(Ref(DEPLOYMENT, "team", "nightly-ship-audit"))
        if live is not None:
            live["status"] = {"availableReplicas": 1}

    def finish(self, name: str, failed: str = "") -> None:
        backup = next(b for b in self.lists["backups"] if b["metadata"]["name"] == name)
        now = self.now.isoformat()
        backup["status"] = (
            {"phase": "Failed", "completedAt": now, "failure": {"reason": failed, "message": "m"}}
            if failed
            else {"phase": "Succeeded", "takenAt": now, "completedAt": now, "verifiedAt": now, **_SIZE}
        )

    def finish_job(self, name: str, failed: str = "", container: str = "backup", **result: Any) -> None:
        job = next(j for j in self.lists["jobs"] if j["metadata"]["name"] == name)
        told = {"type": "Failed" if failed else "Complete", "status": "True"}
        job["status"] = {"conditions": [told]}
        document = {"failed": failed, "message": "m"} if failed else result
        end = {"exitCode": 9 if failed else 0, "message": json.dumps(document), "finishedAt": self.now.isoformat()}
        self.lists["pods"].append(
            {
                "metadata": {
                    "name": "p",
                    "labels": {"batch.kubernetes.io/job-name": name, "app.kubernetes.io/component": "drill"},
                },
                "status": {"containerStatuses": [{"name": container, "state": {"terminated": end}}]},
            }
        )

    def prove(self) -> None:
        """Copy, drill and pruning of now end well, and the audit log is shipped."""
        self.settle()
        self.ship()
        for _ in range(6):
            for backup in [b for b in self.lists["backups"] if "status" not in b]:
                self.finish(backup["metadata"]["name"])
            for job in [j for j in self.lists["jobs"] if "status" not in j]:
                self.finish_job(job["metadata"]["name"], rto_s=12.5, rpo_s=3.0)
            self.settle()

    @property
    def told(self) -> Obj:
        told: Obj = self.parent["status"]
        return told


def _foreign(obj: Obj) -> bool:
    return obj["kind"] == "Backup" and not obj["metadata"].get("ownerReferences")


def no_audit(**spec: Any) -> Keeping:
    return Keeping(audit={"enabled": False}, drill={"enabled": False}, **spec)


# --- schedules


@pytest.mark.parametrize(
    ("cron", "zone", "now", "due"),
    [
        ("0 */6 * * *", "Etc/UTC", "2026-01-01T05:59:59+00:00", None),
        ("0 */6 * * *", "Etc/UTC", "2026-01-01T06:00:00+00:00", "2026-01-01T06:00:00+00:00"),
        ("0 */6 * * *", "Etc/UTC", "2026-01-03T05:00:00+00:00", "2026-01-03T00:00:00+00:00"),
        ("30 3 * * *", "Europe/Berlin", "2026-01-01T02:30:00+00:00", "2026-01-01T02:30:00+00:00"),
        # the hour that a change of the clock leaves out: run once, at its end
        ("30 2 29 3 *", "Europe/Berlin", "2026-03-29T01:00:00+00:00", "2026-03-29T01:00:00+00:00"),
    ],
)
def test_of_all_due_times_that_were_missed_the_latest_alone_is_due(cron: str, zone: str, now: str, due: str) -> None:
    assert latest_due(cron, zone, at(now), START) == (at(due) if due else None)


def test_the_next_due_time_is_in_the_zone_of_the_policy() -> None:
    assert next_due("30 3 * * *", "America/New_York", START) == at("2026-01-01T08:30:00+00:00")


@pytest.mark.parametrize(
    ("cron", "zone", "reason"),
    [
        ("0 0 30 2 *", "Etc/UTC", "InvalidSchedule"),
        ("5-1 * * * *", "Etc/UTC", "InvalidSchedule"),
        ("0 0 * * *", "Europe/Nowhere", "InvalidTimeZone"),
    ],
)
def test_a_schedule_that_never_comes_or_a_zone_that_is_none_stalls_with_the_remedy(
    cron: str, zone: str, reason: str
) -> None:
    with pytest.raises(Stall) as stalled:
        next_due(cron, zone, START)
    assert stalled.value.reason == reason
    assert repr(zone if reason == "InvalidTimeZone" else cron) in stalled.value.message


# --- what begins when


def test_a_new_policy_copies_at_once_and_then_by_its_schedule() -> None:
    w = no_audit()
    w.settle()
    assert w.names("backups") == ["nightly-db-202601010000"]
    w.finish("nightly-db-202601010000")
    w.pass_time(6 * HOUR - 1)
    w.prove()
    assert w.names("backups") == ["nightly-db-202601010000"]
    w.pass_time(1)
    w.settle()
    assert w.names("backups")[-1] == "nightly-db-202601010600"


def test_a_backup_that_is_due_says_which_policy_stream_and_time() -> None:
    w = no_audit()
    w.settle()
    assert w.lists["backups"][0]["spec"] == {
        "policyRef": {"name": "nightly"},
        "stream": "database",
        "scheduledAt": "2026-01-01T00:00:00Z",
    }


def test_schedules_that_were_missed_run_once_late() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(50 * HOUR)
    w.prove()
    assert w.names("backups") == ["nightly-db-202601010000", "nightly-db-202601030000"]


def test_two_operators_that_look_at_the_same_moment_make_one_object() -> None:
    w = no_audit()
    w.step()
    w.step()
    one, other = w.plan(), w.plan()
    names = [{o["metadata"]["name"] for o in p.apply if isinstance(o, dict)} for p in (one, other)]
    assert names[0] == names[1]


def test_an_operator_that_died_before_it_told_what_it_made_makes_nothing_twice() -> None:
    w = no_audit()
    w.settle()
    w.parent["status"].pop("database")
    w.finish("nightly-db-202601010000")
    w.pass_time(HOUR)
    w.prove()
    assert w.names("backups") == ["nightly-db-202601010000"]


def test_a_backup_object_that_somebody_deleted_is_not_made_again() -> None:
    w = no_audit()
    w.prove()
    w.lists["backups"].clear()
    w.pass_time(HOUR)
    w.settle()
    assert w.names("backups") == []
    assert w.told["lastVerified"] == "2026-01-01T00:00:00Z"
    assert w.condition("Ready").status == "True"


def test_never_two_at_once_whatever_is_due_and_whoever_began() -> None:
    w = Keeping(cache={"enabled": True, "schedule": "0 * * * *"})
    w.settle()
    w.pass_time(7 * HOUR)
    w.settle()
    assert len(w.names("backups")) == 1
    w.finish(w.names("backups")[0])
    w.settle()
    assert len([b for b in w.lists["backups"] if "status" not in b]) + len(w.names("jobs")) == 1


def test_nothing_begins_beside_a_copy_on_demand_of_the_same_policy() -> None:
    w = no_audit()
    w.prove()
    w.lists["backups"].append(
        {"kind": "Backup", "metadata": {"name": "mine"}, "spec": {"policyRef": {"name": "nightly"}}}
    )
    w.pass_time(7 * HOUR)
    w.settle()
    assert w.told["running"] == "mine"
    w.finish("mine")
    w.settle()
    assert w.told["database"]["backup"] == "mine"
    assert "nightly-db-202601010600" in w.names("backups")


def test_a_suspended_policy_begins_nothing_and_makes_good_once_afterwards() -> None:
    w = Keeping()
    w.prove()
    w.parent["spec"]["suspend"] = True
    w.pass_time(30 * HOUR)
    w.settle()
    assert len(w.names("backups")) == 1
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 0
    assert w.condition("Ready").status == "Unknown"
    w.parent["spec"]["suspend"] = False
    w.prove()
    assert len(w.names("backups")) == 2
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 1


def test_a_restore_that_holds_the_service_stops_the_shipper_and_all_that_is_due() -> None:
    w = Keeping()
    w.prove()
    w.objects[hold.ref("team", "credits")] = {"metadata": {"name": "h"}, "data": {"restore": "undo"}}
    w.pass_time(7 * HOUR)
    w.settle()
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 0
    assert len(w.names("backups")) == 1
    assert w.condition("Ready").reason == "RestoreRuns"


def test_a_clock_that_jumped_ahead_and_came_back_does_not_stop_the_schedule() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(365 * 24 * HOUR)
    w.prove()
    w.now = START + timedelta(hours=1)
    w.settle()
    w.now = START + timedelta(hours=6, minutes=1)
    w.settle()
    assert "nightly-db-202601010600" in w.names("backups")


# --- history


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


# --- drills and pruning


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


# --- what is told


def test_a_policy_that_never_succeeded_is_not_ready_and_says_what_runs() -> None:
    w = Keeping()
    w.settle()
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "NeverSucceeded")
    assert "nightly-db-202601010000 runs" in ready.message
    assert w.condition("Verified").reason == "NeverVerified"


def test_a_copy_that_failed_is_told_in_the_words_of_the_run_until_one_succeeds() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(6 * HOUR)
    w.settle()
    w.finish("nightly-db-202601010600", failed="WrongKey")
    w.settle()
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason, stalled.message) == ("True", "DatabaseBackupFailed", "WrongKey: m")
    assert w.told["lastVerified"] == "2026-01-01T00:00:00Z"
    w.pass_time(6 * HOUR)
    w.prove()
    assert w.condition("Ready").status == "True"


def test_without_the_audit_log_the_age_of_the_newest_verified_copy_counts() -> None:
    w = no_audit(objectives={"rpoSeconds": 3 * HOUR})
    w.prove()
    assert w.condition("ObjectivesMet").status == "Unknown"
    seconds = w.status().requeue_after_s
    assert seconds is not None
    assert seconds <= 3 * HOUR + 1
    w.pass_time(3 * HOUR + 1)
    met = w.condition("ObjectivesMet")
    assert met.status == "False"
    assert "2026-01-01T00:00:00Z" in met.message


def test_without_the_audit_log_the_rpo_is_what_could_have_been_lost_at_worst() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(6 * HOUR)
    w.settle()
    w.pass_time(120)
    w.finish("nightly-db-202601010600")
    w.settle()
    assert w.told["rpo"] == "6h02m"
    assert "rpoSeconds asks for 6h00m" in w.condition("ObjectivesMet").message


def test_a_restore_that_takes_too_long_misses_the_objective() -> None:
    w = Keeping(objectives={"rtoSeconds": 10})
    w.prove()
    met = w.condition("ObjectivesMet")
    assert (met.status, met.reason) == ("False", "Missed")
    assert "a restore took 12.5s" in met.message


def test_a_shipper_that_does_not_run_is_told_and_makes_the_policy_not_ready() -> None:
    w = Keeping()
    w.prove()
    w.objects[Ref(DEPLOYMENT, "team", "nightly-ship-audit")]["status"] = {}
    assert w.condition("AuditShipping").status == "False"
    assert w.condition("Ready").status == "False"


def test_the_shipper_is_one_pod_that_never_meets_its_successor() -> None:
    w = Keeping()
    w.settle()
    spec = w.one("Deployment", "nightly-ship-audit")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("gone", ["keys", "s3", "credits-db"])
def test_nothing_begins_without_a_secret_and_it_is_named(gone: str) -> None:
    w = Keeping()
    del w.objects[Ref(SECRET, "team", gone)]
    w.settle()
    assert w.names("backups") == []
    assert gone in w.condition("Stalled").message
    assert w.condition("Stalled").status == "True"


def test_a_settled_policy_says_and_makes_the_same_at_each_look() -> None:
    w = Keeping()
    w.prove()
    before = copy.deepcopy((w.told, w.names("backups"), w.names("jobs")))
    w.pass_time(600)
    w.step()
    assert (w.told, w.names("backups"), w.names("jobs")) == before


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25s"), (59, "59s"), (310, "5m10s"), (21720, "6h02m"), (273600, "3d04h")]
)
def test_a_span_of_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def measured(w: Keeping) -> dict[tuple[str, ...], float]:
    kind = BackupPolicyKind(SETTINGS)
    found = kind.measures(w.parent, w.status())
    assert {m.gauge for m in found} <= kind.measured.keys()
    return {(m.gauge, *m.labels.values()): m.value for m in found}


def test_the_figures_say_never_before_the_first_copy_and_when_afterwards() -> None:
    w = Keeping()
    w.settle()
    assert measured(w)["shieldx_backup_last_verified_timestamp_seconds", "database"] == 0
    assert ("shieldx_backup_objectives_met",) not in measured(w)
    w.prove()
    figures = measured(w)
    assert figures["shieldx_backup_last_verified_timestamp_seconds", "database"] == START.timestamp()
    assert figures["shieldx_backup_measured_seconds", "rto"] == 12.5
    assert figures["shieldx_backup_size_bytes", "database"] == 4096
    assert figures["shieldx_backup_duration_seconds", "database"] == 1.5
    assert figures["shieldx_backup_objectives_met",] == 1


def test_the_figures_of_an_object_are_shown_under_its_name_until_it_is_gone() -> None:
    kind = BackupPolicyKind(SETTINGS)
    w = Keeping()
    w.settle()
    shown = Measures.of([kind])
    ref = Ref(kind.resource, "team", "nightly")
    shown.tell(ref, kind.measures(w.parent, w.status()))
    names = [s.labels["name"] for f in shown.collect() for s in f.samples]
    assert names
    assert set(names) == {"nightly"}
    shown.forget(ref)
    assert not [s for f in shown.collect() for s in f.samples]
