"""What an evaluation is made of: accounts, policies, a task and a Job."""

import json

import pytest

from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.types import Obj, Ref
from tests.unit.kinds.shadowevaluation.world import RULE, Shadow

S3: Obj = {"endpoint": "http://objects.storage.svc:9000", "bucket": "traffic", "key": "a.parquet"}


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


def test_a_tenants_field_that_the_schema_let_through_is_told() -> None:
    w = Shadow()
    w.parent["spec"]["rule"] = {**RULE, "patern": "x"}
    with pytest.raises(Exception, match=r"spec.rule.patern"):
        w.plan()
