import copy
import json
from datetime import datetime
from typing import Any

import pytest

from shieldx_operator.blocks import hold, stores
from shieldx_operator.blocks.resources import JOB, SECRET
from shieldx_operator.engine.types import Failure, Obj, Plan, Ref, Results
from shieldx_operator.kinds.backup import BackupKind
from shieldx_operator.kinds.backup.view import POLICY_RESOURCE
from tests.unit.kinds.backups import POLICY, credits_service, environment, held_secrets
from tests.unit.kinds.world import SETTINGS, START, World, secret

INLINE: Obj = {
    "policyRef": None,
    "serviceRef": {"name": "credits"},
    "destination": {"persistentVolumeClaim": {"claimName": "copies", "path": "a"}},
    "encryption": {"secretRef": {"name": "keys"}},
}
RESULT: Obj = {
    "id": "20260101T000000Z-1a2b3c4d",
    "taken_at": "2026-01-01T00:00:00.000Z",
    "size_bytes": 3 << 20,
    "plain_size_bytes": 9 << 20,
    "sha256": ["ab"],
    "key_id": "k1",
    "rows": {"credits.ledger": 7, "credits.accounts": 2},
    "dump_s": 1.5,
    "verified": {"verified_at": "2026-01-01T00:00:03.000Z", "duration_s": 0.5},
}


class Copying(World):
    """A world with one Backup, the policy and the service that it speaks of, and their Secrets."""

    def __init__(self, spec: Obj | None = None, name: str = "before") -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "Backup",
            "metadata": {"namespace": "team", "name": name, "uid": "u1", "generation": 1},
            "spec": {k: v for k, v in {"policyRef": {"name": "nightly"}, **(spec or {})}.items() if v is not None},
        }
        super().__init__(BackupKind(SETTINGS), parent)
        self.lists |= {"Job warnings": []}
        self.put(POLICY_RESOURCE, "nightly", copy.deepcopy(POLICY))
        self.put(stores.CREDITS_RESOURCE, "credits", credits_service())
        self.objects |= held_secrets()

    def settle(self) -> Plan:
        """Looks as the engine does, until the status says nothing new."""
        for _ in range(4):
            plan = self.step()
            before = copy.deepcopy(self.parent.get("status"))
            self.status()
            if before == self.parent["status"]:
                return plan
        raise AssertionError("the status does not settle")

    @property
    def job(self) -> Obj:
        return self.one("Job", f"{self.parent['metadata']['name']}-run")

    def pod(self, message: Obj | str | None, name: str = "p1", **terminated: Any) -> None:
        text = json.dumps(message) if isinstance(message, dict) else message
        end = {"exitCode": 0, "message": text, "finishedAt": "2026-01-01T00:00:05Z", **terminated}
        self.lists["pods"].append(
            {
                "metadata": {
                    "name": name,
                    "labels": {"batch.kubernetes.io/job-name": self.job["metadata"]["name"]},
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                },
                "status": {"containerStatuses": [{"name": "backup", "state": {"terminated": end}}]},
            }
        )

    def end(self, condition: str, reason: str = "", message: str = "") -> None:
        told = {"type": condition, "status": "True", "reason": reason, "message": message}
        self.job["status"] = {"conditions": [told], "startTime": "2026-01-01T00:00:00Z"}


def planned(plan: Plan, kind: str) -> list[Obj]:
    return [o for o in plan.apply if isinstance(o, dict) and o["kind"] == kind]


def test_a_backup_of_a_policy_runs_with_its_destination_keys_deadline_and_version() -> None:
    w = Copying()
    w.settle()
    pod = w.job["spec"]["template"]["spec"]
    run = pod["containers"][0]
    assert run["command"][-4:] == ["run", "--stream", "database", "--json"]
    assert run["image"] == "registry.test/platform:0.9.0"
    env = environment(w.job)
    assert env["SHIELDX_BACKUP_DESTINATION"] == "s3://copies"
    assert env["SHIELDX_BACKUP_SERVICE"] == "team.credits"
    assert env["SHIELDX_BACKUP_KEY_ID"] == "k1"
    assert env["SHIELDX_BACKUP_DEADLINE_S"] == "1000"
    assert env["SHIELDX_BACKUP_RESULT_FILE"] == run["terminationMessagePath"]
    assert w.job["spec"]["activeDeadlineSeconds"] > 1000


def test_a_backup_that_names_everything_itself_needs_no_policy() -> None:
    w = Copying({**INLINE, "stream": "cache"})
    w.settle()
    env = environment(w.job)
    assert env["SHIELDX_BACKUP_DESTINATION"] == "file:///var/lib/shieldx/copies/a"
    assert env["SHIELDX_CACHE_URI_FILE"].endswith("/uri")
    assert "SHIELDX_DATABASE_URI_FILE" not in env
    assert POLICY_RESOURCE not in {r.resource for r in w.kind.reads(w.parent).objects}


def test_the_pod_is_restricted_has_no_token_and_no_secret_outside_of_files() -> None:
    w = Copying()
    w.settle()
    template = w.job["spec"]["template"]
    pod = template["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert mounted == {"keys", "s3", "credits-db"}
    values = [v for s in ("keys", "s3", "credits-db") for v in w.objects[Ref(SECRET, "team", s)]["data"].values()]
    assert not [v for v in values if v in json.dumps(w.job)]


def test_the_pod_may_reach_its_store_and_the_bucket_and_the_store_lets_it_in() -> None:
    w = Copying()
    plan = w.settle()
    assert plan.apply
    out = w.one("NetworkPolicy", "before-run")
    assert {p["port"] for rule in out["spec"]["egress"] for p in rule["ports"]} == {53, 5432, 9000}
    assert not out["spec"].get("ingress")
    way_in = w.one("NetworkPolicy", "before-run-to-database")
    assert way_in["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "database"
    peers = way_in["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert peers.items() <= w.job["spec"]["template"]["metadata"]["labels"].items()
    assert way_in["spec"]["policyTypes"] == ["Ingress"]


def test_an_external_database_is_reached_at_its_own_port_and_has_no_policy() -> None:
    w = Copying()
    w.put(stores.CREDITS_RESOURCE, "credits", credits_service({"external": {"secretRef": {"name": "ours"}}}))
    w.put(SECRET, "ours", secret("team", "ours", {"uri": "postgresql://u:p@db.test:6543/credits"}))
    w.settle()
    ports = {p["port"] for r in w.one("NetworkPolicy", "before-run")["spec"]["egress"] for p in r["ports"]}
    assert 6543 in ports
    assert not [r for r in w.objects if r.name == "before-run-to-database"]


def test_a_verified_copy_is_told_with_size_digest_key_and_place() -> None:
    w = Copying()
    w.settle()
    w.pod(RESULT)
    w.end("Complete")
    w.status()
    told = w.told
    assert told["phase"] == "Succeeded"
    assert told["backupID"] == RESULT["id"]
    assert told["location"] == f"s3://copies/team.credits/database/{RESULT['id']}/"
    assert (told["sizeBytes"], told["size"], told["rows"]) == (3 << 20, "3.0 MiB", 9)
    assert (told["keyID"], told["sha256"]) == ("k1", ["ab"])
    assert (told["durationSeconds"], told["verificationSeconds"]) == (1.5, 0.5)
    assert w.condition("Ready").status == "True"
    assert w.condition("Verified").status == "True"


def test_what_has_ended_is_told_again_without_its_pod_and_its_policy_and_makes_nothing() -> None:
    w = Copying()
    w.settle()
    w.pod(RESULT)
    w.end("Complete")
    w.status()
    before = copy.deepcopy(w.told)
    w.lists["pods"].clear()
    for ref in [r for r in w.objects if r.resource in (POLICY_RESOURCE, SECRET)]:
        del w.objects[ref]
    assert w.kind.reads(w.parent).objects == (Ref(JOB, "team", "before-run"),)
    assert not w.plan().apply
    w.status()
    assert w.told == before


def test_only_the_job_is_left_once_it_has_ended() -> None:
    w = Copying()
    w.settle()
    w.pod(RESULT)
    w.end("Complete")
    assert w.plan() == Plan(keep=frozenset({Ref(JOB, "team", "before-run")}))


def test_a_copy_that_was_not_read_back_is_no_verified_one() -> None:
    w = Copying()
    w.settle()
    w.pod({**RESULT, "verified": None})
    w.end("Complete")
    w.status()
    assert w.condition("Verified").status == "False"
    assert w.condition("Ready").status == "False"


@pytest.mark.parametrize(
    ("failed", "message"),
    [
        ("WrongKey", "key 'k1' sealed this copy and is not among ['k2']"),
        ("DestinationUnavailable", "bucket copies refuses: AccessDenied"),
        ("NoSpace", "the volume is full"),
    ],
)
def test_a_run_that_failed_says_why_in_its_own_words_and_is_no_copy(failed: str, message: str) -> None:
    w = Copying()
    w.settle()
    w.pod({"failed": failed, "message": message, "exit_code": 3}, exitCode=3)
    w.end("Failed", "PodFailurePolicy", "")
    w.status()
    assert w.told["phase"] == "Failed"
    assert w.told["failure"] == {"reason": failed, "message": message}
    assert "backupID" not in w.told
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", failed)
    assert message in stalled.message
    assert w.condition("Verified").status == "False"


def test_a_stuck_run_is_ended_by_its_deadline_and_says_so() -> None:
    w = Copying()
    w.settle()
    w.end("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    w.status()
    assert w.told["failure"]["reason"] == "DeadlineExceeded"


def test_a_pod_that_was_killed_is_told_as_what_killed_it() -> None:
    w = Copying()
    w.settle()
    w.pod(None, exitCode=137, reason="OOMKilled")
    w.end("Failed", "BackoffLimitExceeded", "")
    w.status()
    assert w.told["failure"]["reason"] == "OutOfMemory"


def test_a_result_that_is_lost_with_its_pod_is_no_success() -> None:
    w = Copying()
    w.settle()
    w.end("Complete")
    w.status()
    assert w.told["failure"]["reason"] == "ResultLost"


def test_a_try_that_failed_is_told_while_the_next_one_runs() -> None:
    w = Copying()
    w.settle()
    w.pod({"failed": "Busy", "message": "another run is at work", "exit_code": 5}, exitCode=5)
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "Retrying")
    assert "another run is at work" in ready.message
    assert w.condition("Stalled").status == "False"


def test_a_change_or_the_end_of_the_policy_changes_nothing_about_a_copy_under_way() -> None:
    w = Copying()
    w.settle()
    before = copy.deepcopy(w.job)
    w.objects[Ref(POLICY_RESOURCE, "team", "nightly")]["spec"]["destination"]["s3"]["bucket"] = "other"
    w.settle()
    assert w.job == before
    del w.objects[Ref(POLICY_RESOURCE, "team", "nightly")]
    w.settle()
    assert w.job == before


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (Ref(POLICY_RESOURCE, "team", "nightly"), "PolicyNotFound"),
        (Ref(stores.CREDITS_RESOURCE, "team", "credits"), "ServiceNotFound"),
        (Ref(SECRET, "team", "keys"), "SecretNotFound"),
        (Ref(SECRET, "team", "s3"), "SecretNotFound"),
        (Ref(SECRET, "team", "credits-db"), "SecretNotFound"),
    ],
)
def test_what_is_missing_is_named_before_any_pod_hangs_on_it(missing: Ref, reason: str) -> None:
    w = Copying()
    held = w.objects.pop(missing)
    w.settle()
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", reason)
    assert missing.name in stalled.message
    assert not [r for r in w.objects if r.resource.kind == "Job"]
    w.objects[missing] = held
    w.settle()
    assert w.job


def test_the_active_key_must_be_in_the_secret() -> None:
    w = Copying()
    w.put(SECRET, "keys", secret("team", "keys", {"k0": "x"}))
    w.settle()
    assert w.condition("Stalled").reason == "SecretKeyMissing"
    assert "'k1'" in w.condition("Stalled").message


def test_no_copy_begins_while_a_restore_holds_the_service() -> None:
    w = Copying()
    w.objects[hold.ref("team", "credits")] = {"metadata": {"name": "h"}, "data": {"restore": "undo"}}
    w.settle()
    ready = w.condition("Ready")
    assert (ready.reason, w.condition("Stalled").status) == ("RestoreRuns", "False")
    assert "undo" in ready.message
    del w.objects[hold.ref("team", "credits")]
    w.settle()
    assert w.job


def test_what_the_api_server_refuses_is_told() -> None:
    w = Copying()
    w.settle()
    refused = Results(failures=[Failure("Job team/before-run", "Forbidden", "quota exceeded", retryable=False)])
    assert w.condition("Stalled", refused).reason == "Forbidden"


def test_the_job_tries_again_after_what_may_pass_and_not_after_what_a_person_must_mend() -> None:
    w = Copying()
    w.settle()
    spec = w.job["spec"]
    (given_up,) = spec["podFailurePolicy"]["rules"]
    assert given_up["onExitCodes"]["containerName"] == "backup"
    assert {2, 3, 7, 11, 12} <= set(given_up["onExitCodes"]["values"])
    # 4: a run that reads damage back makes another copy
    assert not {1, 4, 5, 6} & set(given_up["onExitCodes"]["values"])
    assert spec["backoffLimit"] > 0


def test_a_pod_that_is_evicted_costs_a_try_so_that_one_that_fills_its_volume_is_not_repeated_for_ever() -> None:
    w = Copying()
    w.settle()
    assert all(rule["action"] == "FailJob" for rule in w.job["spec"]["podFailurePolicy"]["rules"])
    w.pod(None, exitCode=137, reason="ContainerStatusUnknown")
    (evicted,) = w.lists["pods"]
    said = 'Usage of EmptyDir volume "scratch" exceeds the limit "64Mi". '
    evicted["status"] |= {"reason": "Evicted", "message": said}
    w.end("Failed", "BackoffLimitExceeded", "")
    w.status()
    assert w.told["failure"]["reason"] == "NoSpace"
    assert 'volume "scratch" exceeds the limit' in w.told["failure"]["message"]
    assert "raise scratchSize" in w.told["failure"]["message"]


def test_the_longest_name_fits_into_its_objects() -> None:
    w = Copying(name="b" * 59)
    w.settle()
    assert len(w.job["metadata"]["name"]) == 63


def test_a_look_depends_on_nothing_but_what_it_is_given() -> None:
    one, other = Copying(), Copying()
    one.settle()
    other.settle()
    assert one.told == other.told
    assert one.now == START == datetime.fromisoformat("2026-01-01T00:00:00+00:00")
