import copy
import dataclasses
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from shieldx_operator.blocks.resources import CONFIG_MAP, EVENT, SECRET
from shieldx_operator.engine.types import Failure, Obj, Ref, Results, Status
from shieldx_operator.kinds.shadowevaluation import ShadowEvaluationKind
from shieldx_operator.kinds.shadowevaluation.view import View, view
from shieldx_verdict import Counts, Matrix
from tests.unit.kinds.world import SETTINGS, START, World

RULE: Obj = {"id": "rule-001", "type": "signature", "pattern": "' or '1'='1"}
SPEC: Obj = {
    "rule": RULE,
    "data": {"configMap": {"name": "samples", "key": "samples.ndjson"}},
    "shards": 2,
    "gates": {"minPrecision": 0.8},
}
GOOD = Counts(Matrix(tp=95, fp=2, tn=880, fn=13))
S3: Obj = {"endpoint": "http://objects.storage.svc:9000", "bucket": "traffic", "key": "a.parquet"}


class Shadow(World):
    """A world with one evaluation and its samples, whose workers' entries outlive the operator's own status."""

    def __init__(self, spec: Obj | None = None, **settings: Any) -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "ShadowEvaluation",
            "metadata": {"namespace": "team", "name": "sqli", "uid": "u1", "generation": 1},
            "spec": copy.deepcopy({**SPEC, **(spec or {})}),
        }
        super().__init__(ShadowEvaluationKind(dataclasses.replace(SETTINGS, **settings)), parent)
        self.lists |= {"same question": [], "Job warnings": [], "api server": []}
        self.samples({"samples.ndjson": "{}"})

    def samples(self, data: dict[str, str]) -> None:
        self.objects[Ref(CONFIG_MAP, "team", "samples")] = {"metadata": {"name": "samples"}, "data": data}

    def status(self, results: Results | None = None) -> Status:
        shards = self.parent.get("status", {}).get("shards")
        told = super().status(results)
        if shards is not None:
            self.parent["status"]["shards"] = shards
        return told

    @property
    def view(self) -> View:
        return view(self.parent, SETTINGS)

    @property
    def told(self) -> Obj:
        told: Obj = self.parent["status"]
        return told

    def report(self, index: int, **entry: Any) -> None:
        """What the worker of a shard writes; a shard that is done again replaces its entry."""
        made = {
            "index": index,
            "question": self.view.question,
            "finishedAt": self.now.isoformat(),
            "datasetDigest": "sha256:aa",
            "engine": "shieldx 1.0.0",
            "counts": GOOD.to_dict(),
            **entry,
        }
        told = self.parent.setdefault("status", {})
        told["shards"] = [*(s for s in told.get("shards", ()) if s["index"] != index), made]

    @property
    def job(self) -> Obj | None:
        jobs = [o for r, o in self.objects.items() if r.resource.kind == "Job"]
        assert len(jobs) <= 1
        return jobs[0] if jobs else None

    def end_job(self, condition: str, reason: str = "", message: str = "") -> None:
        assert self.job is not None
        told = {"type": condition, "status": "True", "reason": reason, "message": message}
        self.job["status"] = {"conditions": [told], "completionTime": self.now.isoformat()}

    def apply(self, kind: str) -> Obj:
        return next(o for o in self.plan().apply if isinstance(o, dict) and o["kind"] == kind)

    def kinds(self) -> set[str]:
        """Of what the evaluation is made of now."""
        return {r.resource.kind for r in self.objects if r.name != "samples"}

    def step(self) -> Any:
        """As the engine does it: what is neither planned nor kept is gone."""
        inventory = {r for r in self.objects if r.name.startswith("sqli-")}
        plan = super().step()
        wanted = set(plan.keep) | {r for r in self.objects if any(_names(o, r) for o in plan.apply)}
        for ref in inventory - wanted:
            del self.objects[ref]
        return plan


def _names(built: Any, ref: Ref) -> bool:
    return bool(built["kind"] == ref.resource.kind and built["metadata"]["name"] == ref.name)


def answered(spec: Obj | None = None) -> Shadow:
    w = Shadow(spec)
    w.step()
    for index in range(w.view.effective.shards):
        w.report(index)
    w.end_job("Complete")
    w.status()
    return w


def pod(name: str, *, phase: str = "Failed", **status: Any) -> Obj:
    return {
        "metadata": {"name": name, "labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase, **status},
    }


def ended(exit_code: int, message: str, reason: str = "Error") -> Obj:
    state = {"terminated": {"exitCode": exit_code, "message": message, "reason": reason}}
    return {"containerStatuses": [{"name": "worker", "state": state}]}


# --- what is made


def test_a_question_is_an_account_a_policy_a_task_and_a_job() -> None:
    w = Shadow()
    w.step()
    assert w.kinds() == {"ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "ConfigMap", "Job"}
    order = [o["kind"] for o in w.plan().apply if isinstance(o, dict)]
    assert order[-1] == "Job", "nothing runs before it may do what it must"


def test_the_account_may_patch_the_status_of_its_own_evaluation_and_nothing_else() -> None:
    rules = Shadow().apply("Role")["rules"]
    assert rules == [
        {
            "apiGroups": ["platform.shieldx.io"],
            "resources": ["shadowevaluations/status"],
            "verbs": ["patch"],
            "resourceNames": ["sqli"],
        }
    ]


def test_the_names_are_those_that_the_admission_policy_knows_workers_by() -> None:
    w = Shadow()
    account = w.apply("ServiceAccount")["metadata"]["name"]
    assert account == f"sqli-{w.view.question}-shadow-worker"
    assert w.apply("Job")["metadata"]["name"] == f"sqli-{w.view.run}"
    assert {len(w.view.question), len(w.view.run)} == {10}


def test_every_pod_is_restricted_and_bounded() -> None:
    job = Shadow({"resources": {"limits": {"memory": "2Gi"}}}).apply("Job")["spec"]
    spec = job["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container["resources"]["limits"] == {"cpu": "2000m", "memory": "2Gi"}
    assert spec["restartPolicy"] == "Never"
    assert job["activeDeadlineSeconds"] == 3600
    assert all(m.get("readOnly") for m in container["volumeMounts"] if m["name"] != "tmp")


def test_the_job_does_each_shard_by_itself_and_tries_it_again() -> None:
    job = Shadow({"shards": 5, "parallelism": 3, "backoffLimitPerIndex": 2}).apply("Job")["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 5, 3)
    assert (job["backoffLimitPerIndex"], job["maxFailedIndexes"]) == (2, 0)
    assert job["podReplacementPolicy"] == "Failed", "no two pods work on one shard"
    ignored, final = job["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore", "an eviction costs no try"
    assert final["onExitCodes"]["values"] == [42]


def test_a_worker_talks_to_the_api_server_and_to_nobody_else() -> None:
    w = Shadow()
    w.lists["api server"] = [
        {
            "metadata": {"name": "kubernetes"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.2"]}, {"addresses": ["192.0.2.1"]}],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        }
    ]
    spec = w.apply("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert not spec.get("ingress")
    assert spec["egress"] == [
        {
            "to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}, {"ipBlock": {"cidr": "192.0.2.2/32"}}],
            "ports": [{"protocol": "TCP", "port": 6443}],
        }
    ]


def test_where_the_api_servers_addresses_may_not_be_read_its_usual_ports_are_open() -> None:
    (rule,) = Shadow().apply("NetworkPolicy")["spec"]["egress"]
    assert "to" not in rule
    assert [p["port"] for p in rule["ports"]] == [443, 6443]


def test_samples_in_a_bucket_open_its_port_but_no_address_of_the_machines_own() -> None:
    w = Shadow({"data": {"s3": {**S3, "credentials": {"name": "keys"}}}})
    keys = {"access-key-id": "YQ==", "secret-access-key": "Yg=="}
    w.objects[Ref(SECRET, "team", "keys")] = {"metadata": {"name": "keys"}, "data": keys}
    *_, dns, store = w.apply("NetworkPolicy")["spec"]["egress"]
    assert dns["ports"][0]["port"] == 53
    assert store["ports"] == [{"protocol": "TCP", "port": 9000}]
    assert "169.254.0.0/16" in store["to"][0]["ipBlock"]["except"]
    spec = w.apply("Job")["spec"]["template"]["spec"]
    assert {"name": "SHIELDX_SHADOW_S3_CREDENTIALS_DIR", "value": "/etc/shieldx/secrets/s3"} in spec["containers"][0][
        "env"
    ]
    assert "YQ==" not in json.dumps(w.plan().apply)


def test_a_volume_is_mounted_read_only() -> None:
    w = Shadow({"data": {"persistentVolumeClaim": {"claimName": "traffic", "path": "2026/a.csv.zst"}}})
    mounts = w.apply("Job")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    (data,) = [m for m in mounts if m["name"] == "data"]
    assert data["readOnly"] is True
    task = w.apply("ConfigMap")["data"]["task.json"]
    assert "/var/lib/shieldx/shadow/data/2026/a.csv.zst" in task


def test_the_same_input_gives_the_same_plan() -> None:
    w = Shadow()
    w.step()
    assert w.plan() == w.plan()
    assert w.plan().apply == Shadow().plan().apply


# --- what comes of it


def test_all_shards_give_an_answer_with_its_uncertainty() -> None:
    w = answered()
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("True", "Evaluated")
    assert ready.message.startswith("rule-001: PROMOTE: F1 0.927 (")
    result = w.told["result"]
    assert result["verdict"] == "PROMOTE"
    assert result["matrix"]["truePositives"] == 190
    assert (w.told["samples"], w.told["shardsDone"]) == (1980, "2/2")
    assert result["precision"]["low"] < result["precision"]["value"] < result["precision"]["high"]
    assert (result["datasetDigest"], result["engine"]) == ("sha256:aa", "shieldx 1.0.0")
    assert w.condition("Evaluated").status == "True"
    assert (w.condition("VerdictKnown").status, w.condition("VerdictKnown").reason) == ("True", "Promote")
    assert w.status().requeue_after_s is None


def test_the_order_and_number_of_reports_leave_no_trace_in_the_answer() -> None:
    once, often = answered(), Shadow()
    often.step()
    for index in (1, 0, 1, 1, 0):
        often.report(index)
    often.status()
    assert often.told["result"] == once.told["result"]


def test_no_answer_is_given_while_a_shard_is_missing() -> None:
    w = Shadow()
    w.step()
    w.report(1)
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "Evaluating")
    assert ready.message.startswith("1 of 2 shards are judged")
    assert (w.told["shardsDone"], w.told["samples"]) == ("1/2", 990)
    assert "result" not in w.told
    assert w.condition("Reconciling").status == "True"


def test_an_uncertain_answer_is_an_answer() -> None:
    w = answered({"gates": {"minPrecision": 0.98}})
    assert w.condition("Ready").status == "True"
    assert w.told["result"]["verdict"] == "INCONCLUSIVE"
    known = w.condition("VerdictKnown")
    assert (known.status, known.reason) == ("False", "Inconclusive")
    assert "minPrecision 0.98 is undecided" in known.message


def test_entries_of_another_question_count_for_nothing() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1, question="9999999999")
    assert w.condition("Ready").reason == "Evaluating"
    assert w.told["shardsDone"] == "1/2"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"datasetDigest": "sha256:bb"}, "do not agree on datasetDigest (shard 0 sha256:aa, shard 1 sha256:bb)"),
        ({"engine": "shieldx 2.0.0"}, "do not agree on engine"),
        (
            {"counts": {"matrix": {"tp": -1, "fp": 0, "tn": 0, "fn": 0}}},
            "status.shards, index 1: counts: matrix.tp is -1",
        ),
        ({"counts": {}}, "status.shards, index 1: counts: "),
    ],
    ids=["other data", "other engine", "less than nothing", "no counts"],
)
def test_shards_that_do_not_add_up_are_never_added_up(entry: Obj, says: str) -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1, **entry)
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ShardsDisagree")
    assert says in stalled.message
    assert "spec.rerun" in stalled.message
    assert "result" not in w.told


# --- afterwards


def test_at_the_end_all_goes_but_the_job_with_its_log() -> None:
    w = answered()
    w.step()
    assert w.kinds() == {"Job"}


def test_pods_that_still_run_keep_what_they_run_under() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1)
    w.status()
    w.step()
    assert "NetworkPolicy" in w.kinds()
    assert "Role" in w.kinds()


def test_an_answer_needs_no_job_and_none_is_made_again() -> None:
    w = answered()
    w.objects = {r: o for r, o in w.objects.items() if r.name == "samples"}
    assert w.plan().apply == ()
    assert w.condition("Ready").status == "True"


def test_an_answer_stays_when_shards_are_wiped_and_when_the_operator_is_another() -> None:
    w = answered()
    before = copy.deepcopy(w.told["result"])
    del w.told["shards"]
    newer = dataclasses.replace(SETTINGS, runtime_image="registry.test/platform:2.0.0")
    w.kind = ShadowEvaluationKind(newer)
    w.status()
    assert w.told["result"] == before
    assert w.told["version"] == "1.0.0"
    assert w.plan().apply == ()


@pytest.mark.parametrize("image", ["registry.test/platform:2.0.0", "mirror.test/platform:1.0.0"])
def test_another_operator_leaves_a_running_job_alone(image: str) -> None:
    w = Shadow()
    w.step()
    w.status()
    before = copy.deepcopy(w.job)
    w.kind = ShadowEvaluationKind(dataclasses.replace(SETTINGS, runtime_image=image))
    w.step()
    assert w.job is not None
    assert before is not None
    assert w.job["spec"]["template"] == before["spec"]["template"]
    assert w.job["metadata"]["name"] == before["metadata"]["name"]


# --- changes


@pytest.mark.parametrize(
    "change",
    [
        {"rule": {**RULE, "pattern": "union select"}},
        {"baseline": RULE},
        {"seed": 7},
        {"sampleSize": 10},
        {"shards": 3},
        {"rerun": "2026-02-01"},
        {"version": "2.0.0"},
        {"data": {"configMap": {"name": "samples", "key": "other"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_asked_anew(change: Obj) -> None:
    w = answered()
    w.samples({"samples.ndjson": "{}", "other": "{}"})
    before = w.view.run
    w.parent["spec"] |= change
    w.step()
    assert w.job is not None
    assert w.job["metadata"]["name"] == f"sqli-{w.view.run}" != f"sqli-{before}"
    w.status()
    assert "result" not in w.told, "an old answer must not stand beside a new question"
    assert w.condition("Ready").status == "False"


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 7},
        {"batchSize": 1},
        {"resources": {"limits": {"memory": "4Gi"}}},
        {"deadlineSeconds": 60},
        {"suspend": True},
        {"ttlSecondsAfterFinished": 60},
        {"rule": {**RULE, "name": "another name"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_numbers_do_not_depend_on_asks_nothing_anew(change: Obj) -> None:
    w = answered()
    before = copy.deepcopy(w.told["result"])
    w.parent["spec"] |= change
    assert w.plan().apply == ()
    w.status()
    assert w.told["result"] == before


def test_another_gate_is_judged_from_the_same_counts() -> None:
    w = answered()
    w.parent["spec"]["gates"] = {"minPrecision": 0.999}
    assert w.plan().apply == ()
    w.status()
    assert w.told["result"]["verdict"] == "REJECT"
    w.parent["spec"]["gates"] = {"minPrecision": 0.8}
    w.status()
    assert w.told["result"] == answered().told["result"]


def test_more_memory_makes_a_new_job_of_the_same_question() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    question, run = w.view.question, w.view.run
    w.parent["spec"]["resources"] = {"limits": {"memory": "4Gi"}}
    w.step()
    assert w.view.question == question
    assert w.view.run != run
    assert w.job is not None
    assert w.job["metadata"]["name"] == f"sqli-{w.view.run}"
    w.status()
    assert w.told["shardsDone"] == "1/2", "what has been judged stays judged"


def test_suspending_holds_the_job_and_keeps_its_shards() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.parent["spec"]["suspend"] = True
    w.step()
    assert w.job is not None
    assert w.job["spec"]["suspend"] is True
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("Unknown", "Suspended")
    assert w.told["shardsDone"] == "1/2"
    assert "failure" not in w.told
    w.parent["spec"]["suspend"] = False
    w.step()
    assert w.job["spec"]["suspend"] is False


def test_a_question_that_is_suspended_from_the_start_makes_nothing() -> None:
    w = Shadow({"suspend": True})
    w.step()
    assert w.kinds() == set()


# --- failures


def fail(w: Shadow, *pods: Obj, reason: str = "FailedIndexes", message: str = "Job has failed indexes") -> None:
    w.step()
    w.lists["pods"] = list(pods)
    w.end_job("Failed", reason, message)


def test_a_failed_job_is_told_in_the_last_words_of_a_worker_and_not_tried_again() -> None:
    w = Shadow()
    fail(w, pod("sqli-0-abcde", **ended(42, "rule.pattern, character 3: RE2 knows no lookahead")))
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "EvaluationFailed")
    assert "RE2 knows no lookahead" in stalled.message
    assert "spec.rerun" in stalled.message
    assert w.status().requeue_after_s is None
    w.step()
    assert w.kinds() == {"Job"}
    w.objects = {r: o for r, o in w.objects.items() if r.name == "samples"}  # its time to live has passed
    w.lists["pods"] = []
    assert w.plan().apply == ()
    assert "RE2 knows no lookahead" in w.condition("Stalled").message


@pytest.mark.parametrize("change", [{"rerun": "again"}, {"resources": {"limits": {"memory": "4Gi"}}}])
def test_a_failed_evaluation_is_tried_again_when_it_is_changed(change: Obj) -> None:
    w = Shadow()
    fail(w, pod("sqli-0-abcde", **ended(137, "", "OOMKilled")))
    assert w.condition("Stalled").reason == "OutOfMemory"
    assert "spec.resources.limits.memory" in w.condition("Stalled").message
    w.parent["spec"] |= change
    w.step()
    assert w.job is not None
    assert w.job["metadata"]["name"] == f"sqli-{w.view.run}"
    w.lists["pods"] = []
    w.status()
    assert "failure" not in w.told


def test_a_deadline_names_the_fields_that_help() -> None:
    w = Shadow({"deadlineSeconds": 30})
    fail(w, reason="DeadlineExceeded", message="Job was active longer than specified deadline")
    stalled = w.condition("Stalled")
    assert stalled.reason == "DeadlineExceeded"
    assert "not done within 30 s (0 of 2 shards are judged)" in stalled.message
    assert "spec.deadlineSeconds" in stalled.message


def test_a_job_that_failed_after_all_shards_had_come_is_an_answer() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.report(1)
    w.end_job("Failed", "DeadlineExceeded", "late")
    assert w.condition("Ready").status == "True"


def test_a_pod_that_failed_while_its_job_tries_again_needs_no_person() -> None:
    w = Shadow()
    w.step()
    assert w.job is not None
    w.job["status"] = {"active": 1}
    w.lists["pods"] = [pod("sqli-0-abcde", **ended(1, "killed")), pod("sqli-0-fghij", phase="Running")]
    assert w.condition("Stalled").status == "False"
    assert w.condition("Ready").reason == "Evaluating"


def test_a_pod_that_cannot_start_is_told() -> None:
    w = Shadow()
    w.step()
    waiting = {"waiting": {"reason": "ErrImageNeverPull", "message": "no such image"}}
    status = {"containerStatuses": [{"name": "worker", "image": "x", "state": waiting}]}
    w.lists["pods"] = [pod("sqli-0-abcde", phase="Pending", **status)]
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ImagePullFailed")
    assert w.status().requeue_after_s == 5


def test_pods_that_nobody_lets_in_are_told() -> None:
    w = Shadow()
    w.step()
    about = {"kind": "Job", "name": f"sqli-{w.view.run}"}
    w.lists["Job warnings"] = [
        {"kind": EVENT.kind, "type": "Warning", "reason": "FailedCreate", "involvedObject": about, "message": "quota"}
    ]
    assert w.condition("Stalled").reason == "PodsRefused"


def test_a_shard_whose_entry_was_lost_is_judged_again() -> None:
    w = Shadow()
    w.step()
    w.report(0)
    w.end_job("Complete")
    w.pass_time(10)
    assert w.condition("Ready").reason == "Evaluating", "its entry may be on its way"
    w.pass_time(25)
    assert w.condition("Ready").reason == "ShardLost"
    w.step()
    assert w.job is None
    w.step()
    assert w.job is not None


@pytest.mark.parametrize(
    ("data", "says"),
    [(None, "ConfigMap team/samples does not exist"), ({"other": "{}"}, "has no key 'samples.ndjson'")],
)
def test_missing_samples_are_told_before_anything_is_made(data: dict[str, str] | None, says: str) -> None:
    w = Shadow()
    del w.objects[Ref(CONFIG_MAP, "team", "samples")]
    if data is not None:
        w.samples(data)
    w.step()
    assert w.kinds() == set()
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "DataNotFound")
    assert says in stalled.message
    assert w.status().requeue_after_s == 5
    w.samples({"samples.ndjson": "{}"})
    w.step()
    assert w.job is not None


def test_what_the_api_server_refuses_is_told() -> None:
    w = Shadow()
    w.step()
    refused = Results([Failure("Job team/x", "Forbidden", "no", retryable=False)])
    assert w.condition("Stalled", refused).reason == "Forbidden"


# --- somebody else has asked


def other(w: Shadow, *, age: timedelta = timedelta(minutes=5), name: str = "before", **status: Any) -> Obj:
    """An evaluation that asked the same, and how long ago its last shard came."""
    twin = Shadow(w.parent["spec"])
    twin.now = w.now - age
    twin.report(0)
    twin.report(1)
    twin.status()
    twin.parent["metadata"] = {**twin.parent["metadata"], "name": name}
    twin.told.update(status)
    return twin.parent


def test_the_same_question_within_a_quarter_of_an_hour_needs_no_job() -> None:
    w = Shadow()
    w.lists["same question"] = [other(w)]
    w.step()
    assert w.kinds() == set()
    w.status()
    result = w.told["result"]
    assert result["cachedFrom"] == "before"
    assert datetime.fromisoformat(result["evaluatedAt"]) == START - timedelta(minutes=5)
    assert w.told["samples"] == 1980
    assert "counted by before" in w.condition("Evaluated").message
    w.lists["same question"] = []
    w.pass_time(3600)
    assert w.plan().apply == ()
    w.status()
    assert w.told["result"] == result


def test_counts_of_another_are_judged_by_ones_own_gates() -> None:
    w = Shadow()
    w.lists["same question"] = [other(w)]
    w.parent["spec"]["gates"] = {"minPrecision": 0.999}
    w.status()
    assert w.told["result"]["verdict"] == "REJECT"


@pytest.mark.parametrize(
    "twin",
    [
        {"age": timedelta(minutes=16)},
        {"dataDigest": "0000000000000000"},
        {"shards": []},
        {"name": "sqli"},
    ],
    ids=["too old", "other samples", "itself cached", "itself"],
)
def test_what_is_old_or_about_other_samples_is_no_cache(twin: Any) -> None:
    w = Shadow()
    w.lists["same question"] = [other(w, **twin)]
    w.step()
    assert w.job is not None
    w.status()
    assert "result" not in w.told


def test_a_rerun_is_never_answered_from_what_was_counted_before() -> None:
    w = Shadow()
    before = other(w)
    w.parent["spec"]["rerun"] = "today"
    w.lists["same question"] = [before]
    w.step()
    assert w.job is not None


def test_a_config_map_that_changes_later_is_not_what_was_judged() -> None:
    w = Shadow()
    w.step()
    w.status()
    digest = w.told["dataDigest"]
    w.samples({"samples.ndjson": "{} changed"})
    w.report(0)
    w.report(1)
    w.status()
    assert w.told["dataDigest"] == digest


# --- reads


def test_an_answered_question_costs_one_read() -> None:
    w = answered()
    reads = w.kind.reads(w.parent)
    assert [r.resource.kind for r in reads.objects] == ["Job"]
    assert reads.queries == {}


def test_a_tenants_field_that_the_schema_let_through_is_told() -> None:
    w = Shadow()
    w.parent["spec"]["rule"] = {**RULE, "patern": "x"}
    with pytest.raises(Exception, match=r"spec.rule.patern"):
        w.plan()
