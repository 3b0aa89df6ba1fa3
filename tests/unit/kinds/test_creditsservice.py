import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from shieldx_contract import (
    DATABASE_SECRET_DIR,
    ENV_AUDIT_SIGNING_KEY_FILE,
    ENV_DATABASE_SERVICE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_MASTER_KEYS_FILE,
)
from shieldx_operator.blocks import hold
from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.blocks.workload import pin_template
from shieldx_operator.engine.secrets import decoded
from shieldx_operator.engine.types import GeneratedSecret, Obj, Stall
from shieldx_operator.kinds.creditsservice import CreditsServiceKind, build
from shieldx_operator.kinds.creditsservice.view import view
from shieldx_runtime.credits.sealing_settings import load_audit
from tests.unit.kinds.world import SETTINGS, World, secret

MANAGED: Obj = {"database": {"managed": {}}, "cache": {"managed": {}}}


def service(spec: Obj | None = None) -> Obj:
    return {
        "apiVersion": "platform.shieldx.io/v1alpha1",
        "kind": "CreditsService",
        "metadata": {"namespace": "team", "name": "pay", "uid": "u1", "generation": 1},
        "spec": copy.deepcopy(MANAGED if spec is None else spec),
    }


def world(spec: Obj | None = None, **settings: Any) -> World:
    return World(CreditsServiceKind(dataclasses.replace(SETTINGS, **settings)), service(spec))


def make_stores_ready(w: World) -> None:
    for obj in w.objects.values():
        if obj["kind"] == "StatefulSet":
            obj["status"] = {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 1}


def finish_job(w: World, condition: str = "Complete", at: str = "2026-01-01T00:00:00Z") -> None:
    w.lists["jobs"][0]["status"] = {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": at}]}


def running(spec: Obj | None = None, **settings: Any) -> World:
    """A service whose pods serve."""
    w = world(spec, **settings)
    w.step()
    make_stores_ready(w)
    w.step()
    if not w.lists["jobs"]:
        w.step()
    finish_job(w)
    w.step()
    roll_out(w)
    w.status()
    return w


def roll_out(w: World) -> None:
    deployment = w.one("Deployment", "pay")
    deployment["spec"].setdefault("replicas", 3)
    deployment["status"] = {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }


def kinds(w: World) -> set[str]:
    return {r.resource.kind for r in w.objects}


def test_nothing_that_runs_comes_before_its_schema() -> None:
    w = world()
    w.step()
    assert "Deployment" not in kinds(w)
    assert not w.lists["jobs"]
    make_stores_ready(w)
    w.step()
    assert len(w.lists["jobs"]) == 1
    assert "Deployment" not in kinds(w)
    finish_job(w)
    w.step()
    assert {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"} <= kinds(w)


def test_a_served_object_is_ready_and_says_where() -> None:
    w = running()
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("True", "Available")
    assert w.parent["status"]["endpoint"] == "http://pay.team.svc:8080"
    assert w.parent["status"]["ready"] == "3/3"
    assert w.parent["status"]["version"] == "1.0.0"
    assert w.status().requeue_after_s is None


def test_the_same_input_gives_the_same_plan() -> None:
    w = running()
    assert w.plan() == w.plan()


def test_production_numbers_stand_in_the_objects() -> None:
    w = running()
    hpa = w.one("HorizontalPodAutoscaler", "pay")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (3, 10)
    targets = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in hpa["metrics"]}
    assert targets == {"cpu": 70, "memory": 80}
    assert w.one("PodDisruptionBudget", "pay")["spec"]["minAvailable"] == 2
    container = w.one("Deployment", "pay")["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"cpu": "2000m", "memory": "2Gi"},
    }
    assert w.one("Deployment", "pay")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_replicas_are_given_once_and_then_belong_to_the_autoscaler() -> None:
    w = world()
    w.step()
    make_stores_ready(w)
    w.step()
    finish_job(w)
    plan = w.plan()
    deployment = next(o for o in plan.apply if not isinstance(o, GeneratedSecret) and o["kind"] == "Deployment")
    assert "replicas" not in deployment["spec"]
    assert plan.initial[ref_of(deployment)] == {"spec": {"replicas": 3}}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job"])
def test_every_pod_is_restricted(kind: str) -> None:
    w = running()
    for obj in [o for o in w.objects.values() if o["kind"] == kind]:
        pod = obj["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["limits"]["memory"]


def test_no_secret_value_stands_outside_of_secrets() -> None:
    w = running()
    values = {
        v
        for o in w.objects.values()
        if o["kind"] == "Secret"
        for k, v in decoded(o).items()
        if k in {"password", "pepper", "admin-secret", "admin-key", "uri", "signing-key", "master-keys"}
    }
    assert len(values) >= 8
    rest = json.dumps([o for o in w.objects.values() if o["kind"] != "Secret"]) + json.dumps(w.parent)
    assert not [v for v in values if v in rest]


def test_a_newer_operator_restarts_nothing() -> None:
    w = running()
    before = w.one("Deployment", "pay")["spec"]["template"]
    stores = {o["metadata"]["name"]: o["spec"]["template"] for o in w.objects.values() if o["kind"] == "StatefulSet"}
    w.kind = CreditsServiceKind(
        dataclasses.replace(
            SETTINGS,
            runtime_image="registry.test/platform:2.0.0",
            postgres_image="registry.test/postgres:16",
            image_pull_policy="Always",
        )
    )
    w.step()
    assert w.one("Deployment", "pay")["spec"]["template"] == before
    for obj in [o for o in w.objects.values() if o["kind"] == "StatefulSet"]:
        assert obj["spec"]["template"] == stores[obj["metadata"]["name"]]
    assert len(w.lists["jobs"]) == 1
    assert w.condition("Ready").status == "True"


def test_a_template_changed_by_hand_is_written_again() -> None:
    w = running()
    good = w.one("Deployment", "pay")["spec"]["template"]
    w.one("Deployment", "pay")["spec"]["template"] = {"spec": {"containers": []}}
    w.step()
    assert w.one("Deployment", "pay")["spec"]["template"] == good


def test_a_pinned_template_changed_by_hand_is_not_believed() -> None:
    w = running()
    deployment = w.one("Deployment", "pay")
    good = deployment["spec"]["template"]
    deployment["metadata"]["annotations"]["platform.shieldx.io/pod-template"] = '{"spec":{"containers":[]}}'
    w.step()
    assert w.one("Deployment", "pay")["spec"]["template"] == good


def test_old_pods_serve_on_while_a_migration_fails_and_the_version_is_named_as_rejected() -> None:
    w = running()
    old = w.one("Deployment", "pay")["spec"]["template"]
    w.parent["spec"]["version"] = "1.1.0"
    w.parent["metadata"]["generation"] = 2
    w.step()
    assert w.lists["jobs"][0]["metadata"]["name"].startswith("pay-migrate-")
    finish_job(w, "Failed")
    w.lists["pods"] = [failed_pod("migration", 'database pay-db: relation "x" does not exist')]
    w.step()
    assert w.one("Deployment", "pay")["spec"]["template"] == old
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "MigrationFailed")
    assert 'relation "x" does not exist' in stalled.message
    rejected = w.parent["status"]["rejected"]
    assert (rejected["version"], rejected["generation"]) == ("1.1.0", 2)
    assert w.parent["status"]["version"] == "1.0.0"


def refused_upgrade(version: str = "1.1.0") -> World:
    """A service of which a newer version was asked for whose migration fails, and whose Deployment was deleted."""
    w = running()
    w.parent["spec"]["version"] = version
    w.parent["metadata"]["generation"] = 2
    w.step()
    finish_job(w, "Failed")
    w.step()
    w.status()
    del w.objects[ref_of(w.one("Deployment", "pay"))]
    return w


def test_a_deployment_deleted_while_a_migration_fails_comes_back_with_the_version_that_served() -> None:
    w = refused_upgrade()
    w.step()
    back = w.one("Deployment", "pay")
    assert back["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.test/platform:1.0.0"
    assert back["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "1.0.0"
    roll_out(w)
    w.step()
    assert w.condition("Stalled").reason == "MigrationFailed"
    assert w.parent["status"]["version"] == "1.0.0"
    assert w.parent["status"]["rejected"]["version"] == "1.1.0"
    w.lists["jobs"][0]["status"] = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "x"}]}
    w.step()
    newer = w.one("Deployment", "pay")["spec"]["template"]
    assert newer["spec"]["containers"][0]["image"] == "registry.test/platform:1.1.0"


@pytest.mark.parametrize(
    "change",
    [
        {"image": {"repository": "registry.test/platfrom"}},
        {"image": {"repository": "registry.test/platfrom"}, "version": "1.1.0"},
    ],
    ids=["the repository", "and the version"],
)
def test_a_wrong_repository_keeps_no_deployment_away(change: Obj) -> None:
    w = running()
    w.parent["spec"] |= change
    w.parent["metadata"]["generation"] = 2
    w.step()
    finish_job(w, "Failed")
    w.step()
    w.status()
    del w.objects[ref_of(w.one("Deployment", "pay"))]
    for _ in range(2):
        w.step()
        back = w.one("Deployment", "pay")["spec"]["template"]
        assert back["spec"]["containers"][0]["image"] == "registry.test/platform:1.0.0"
        assert back["metadata"]["labels"]["app.kubernetes.io/version"] == "1.0.0"
        roll_out(w)
        w.status()


def test_where_an_older_operator_noted_no_image_it_is_the_repository_that_is_asked_for() -> None:
    w = refused_upgrade()
    del w.parent["status"]["migratedImage"]
    w.step()
    back = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    assert back["containers"][0]["image"] == "registry.test/platform:1.0.0"


def test_on_another_database_no_deployment_comes_back_before_its_schema() -> None:
    w = refused_upgrade()
    w.one("PersistentVolumeClaim", "pay-db")["metadata"]["uid"] = "another"
    w.step()
    assert "Deployment" not in kinds(w)
    assert w.condition("WorkloadReady").reason == "WaitingForSchema"


def test_while_a_restore_holds_the_service_no_deployment_comes_back() -> None:
    w = refused_upgrade()
    held = hold.build({"namespace": "team"}, "team", "pay", "undo")
    w.objects[ref_of(held)] = held
    assert "Deployment" not in {o["kind"] for o in w.plan().apply if not isinstance(o, GeneratedSecret)}


def test_a_failed_migration_is_tried_again_after_a_minute_and_its_reason_stays_told() -> None:
    w = world()
    w.step()
    make_stores_ready(w)
    w.step()
    name = w.lists["jobs"][0]["metadata"]["name"]
    finish_job(w, "Failed")
    w.lists["pods"] = [failed_pod("migration", "password authentication failed")]
    assert w.condition("SchemaCurrent").reason == "MigrationFailed"
    w.pass_time(59)
    w.step()
    assert len(w.lists["jobs"]) == 1
    w.pass_time(2)
    w.step()
    assert not w.lists["jobs"]
    w.lists["pods"] = []
    w.step()
    assert w.lists["jobs"][0]["metadata"]["name"] == name
    assert "password authentication failed" in w.condition("Ready").message


def failed_pod(component: str, message: str) -> Obj:
    return {
        "metadata": {"name": f"pay-{component}-x", "labels": {"app.kubernetes.io/component": component}},
        "status": {
            "containerStatuses": [
                {
                    "name": component,
                    "ready": False,
                    "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": message}},
                }
            ]
        },
    }


def waiting_pod(component: str, reason: str, message: str) -> Obj:
    return {
        "metadata": {"name": f"pay-{component}-x", "labels": {"app.kubernetes.io/component": component}},
        "status": {
            "containerStatuses": [
                {
                    "name": component,
                    "image": "registry.test/nope:9",
                    "ready": False,
                    "state": {"waiting": {"reason": reason, "message": message}},
                }
            ]
        },
    }


def test_an_image_that_cannot_be_pulled_names_itself() -> None:
    w = running()
    w.one("Deployment", "pay")["status"]["updatedReplicas"] = 1
    w.lists["pods"] = [waiting_pod("api", "ImagePullBackOff", "not found")]
    ready = w.condition("Ready")
    assert ready.reason == "ImagePullFailed"
    assert "registry.test/nope:9" in ready.message
    assert "spec.version" in ready.message


def test_a_quota_that_forbids_pods_names_itself() -> None:
    w = world()
    w.step()
    w.lists["StatefulSet warnings"] = [
        {
            "type": "Warning",
            "reason": "FailedCreate",
            "involvedObject": {"kind": "StatefulSet", "name": "pay-db"},
            "message": "pods is forbidden: exceeded quota: tiny",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
    ]
    ready = w.condition("Ready")
    assert ready.reason == "PodsRefused"
    assert "exceeded quota: tiny" in ready.message


EXTERNAL: Obj = {
    "database": {"external": {"secretRef": {"name": "their-db"}}},
    "cache": {"external": {"secretRef": {"name": "their-cache", "key": "url"}}},
}


@pytest.mark.parametrize(
    ("secrets", "reason", "words"),
    [
        ([], "SecretNotFound", ["Secret team/their-db", "'uri'", "spec.database.external.secretRef"]),
        ([secret("team", "their-db", {"other": "x"})], "SecretKeyMissing", ["their-db", "'uri'"]),
        ([secret("team", "their-db", {"uri": "mysql://h"})], "SecretInvalid", ["postgresql://"]),
        (
            [secret("team", "their-db", {"uri": "postgresql://u:p@h/d"})],
            "SecretNotFound",
            ["their-cache", "'url'", "spec.cache.external.secretRef"],
        ),
    ],
)
def test_an_unusable_secret_of_the_users_names_itself(secrets: list[Obj], reason: str, words: list[str]) -> None:
    w = world(EXTERNAL)
    for s in secrets:
        w.objects[ref_of(s)] = s
    w.step()
    ready, stalled = w.condition("Ready"), w.condition("Stalled")
    if len(secrets) == 1 and reason == "SecretNotFound":
        ready = w.condition("CacheReady")
    else:
        assert stalled.status == "True"
    assert ready.reason == reason
    for word in words:
        assert word in ready.message


def test_an_external_database_is_reached_on_its_own_port_only() -> None:
    w = world(EXTERNAL)
    for s in (
        secret("team", "their-db", {"uri": "postgresql://u:p@h:6543/d"}),
        secret("team", "their-cache", {"url": "rediss://:p@h:6390/0"}),
    ):
        w.objects[ref_of(s)] = s
    w.step()
    egress = w.one("NetworkPolicy", "pay-api")["spec"]["egress"]
    assert {p["port"] for rule in egress for p in rule["ports"]} == {53, 6543, 6390}
    assert "StatefulSet" not in kinds(w)


def test_only_named_callers_reach_the_api_and_only_the_service_its_stores() -> None:
    spec = {**MANAGED, "network": {"allowFrom": [{"podSelector": {"matchLabels": {"role": "caller"}}}]}}
    w = running(spec)
    deny = w.one("NetworkPolicy", "pay-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert deny["ingress"] == deny["egress"] == [], "said, so that a rule somebody adds is a difference"
    api = w.one("NetworkPolicy", "pay-api")["spec"]["ingress"]
    assert len(api) == 1
    assert api[0]["from"][0] == {"podSelector": {"matchLabels": {"role": "caller"}}}
    assert api[0]["from"][1]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "shieldx-system"}
    database = w.one("NetworkPolicy", "pay-db")["spec"]
    assert database["egress"] == []
    components = [
        f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for f in database["ingress"][0]["from"]
    ]
    assert components == ["api", "migration", "reconciliation"]


def test_alerts_leave_for_public_addresses_only_where_the_spec_lets_them() -> None:
    closed = running().one("NetworkPolicy", "pay-api")["spec"]["egress"]
    opened = running({**MANAGED, "alerts": {"webhooks": "Public"}}).one("NetworkPolicy", "pay-api")["spec"]["egress"]
    (rule,) = [r for r in opened if r not in closed]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    assert {"cidr": "0.0.0.0/0"}.items() <= rule["to"][0]["ipBlock"].items()
    assert "10.0.0.0/8" in rule["to"][0]["ipBlock"]["except"]
    assert [r for r in opened if r != rule] == closed


@pytest.mark.parametrize(("policy", "retained"), [("Retain", True), ("Delete", False)])
def test_data_and_what_opens_it_live_equally_long(policy: str, *, retained: bool) -> None:
    w = running({**MANAGED, "database": {"managed": {"deletionPolicy": policy}}})
    for kind, name in (
        ("PersistentVolumeClaim", "pay-db"),
        *(("Secret", f"pay-{s}") for s in ("db", "db-service", "auth", "audit")),
    ):
        notes = w.one(kind, name)["metadata"].get("annotations", {})
        assert (notes.get("platform.shieldx.io/retain") == "true") is retained, (kind, name)


def test_the_api_has_usable_audit_keys_in_the_files_that_it_is_told_of(tmp_path: Path) -> None:
    w = running()
    pod = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    told = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
    place = next(m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "audit")
    volume = next(v["secret"] for v in pod["volumes"] if v["name"] == "audit")
    values = decoded(w.one("Secret", volume["secretName"]))
    environ = {}
    for name in (ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE):
        folder, _, key = told[name].rpartition("/")
        assert folder == place
        assert key in {i["path"] for i in volume["items"]}
        (tmp_path / key).write_text(values[key])
        environ[name] = str(tmp_path / key)
    settings = load_audit(environ)
    assert settings.signing_key
    assert "PUBLIC KEY" in settings.signing_key.signer().public_pem()
    masters = settings.masters.current()
    assert masters
    assert masters.active_id == "k1"


def test_a_pod_of_an_older_template_is_told_of_no_file_that_it_has_not() -> None:
    w = running()
    assert not {ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE} & w.one("ConfigMap", "pay-config")["data"].keys()


def test_the_migration_has_no_audit_keys() -> None:
    w = running()
    pod = w.lists["jobs"][0]["spec"]["template"]["spec"]
    assert "pay-audit" not in json.dumps(pod)


def test_a_new_claim_is_a_new_database_and_gets_its_schema() -> None:
    w = running()
    old = w.lists["jobs"][0]["metadata"]["name"]
    w.one("PersistentVolumeClaim", "pay-db")["metadata"]["uid"] = "another"
    w.step()
    assert w.lists["jobs"][0]["metadata"]["name"] != old


def mounted(pod: Obj) -> dict[str, str]:
    """Names of Secrets by where the pod has them."""
    places = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    return {places[v["name"]]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}


def variables(pod: Obj) -> dict[str, str]:
    return {e["name"]: e["value"] for e in pod["containers"][0].get("env", ())}


def test_the_api_does_not_connect_as_the_owner_of_its_database_and_the_migration_does() -> None:
    w = running()
    api = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    assert "pay-db-service" in mounted(api).values()
    assert "pay-db" not in mounted(api).values()
    migration = w.lists["jobs"][0]["spec"]["template"]["spec"]
    told = variables(migration)
    owner, service = (told[n].rpartition("/")[0] for n in (ENV_DATABASE_URI_FILE, ENV_DATABASE_SERVICE_URI_FILE))
    assert mounted(migration) == {owner: "pay-db", service: "pay-db-service"}
    uris = [decoded(w.one("Secret", name))["uri"] for name in ("pay-db", "pay-db-service")]
    assert [u.split("@")[1] for u in uris] == ["pay-db.team.svc:5432/credits"] * 2
    assert [u.split(":")[1] for u in uris] == ["//credits", "//credits_service"]
    assert uris[0].split(":")[2] != uris[1].split(":")[2]


def test_a_new_password_of_the_apis_role_is_brought_to_the_database() -> None:
    w = running()
    old = w.lists["jobs"][0]["metadata"]["name"]
    w.one("Secret", "pay-db-service")["metadata"]["uid"] = "another"
    w.step()
    assert w.lists["jobs"][0]["metadata"]["name"] != old


def as_an_older_operator_made_it(w: World) -> None:
    deployment = w.one("Deployment", "pay")
    settings = dataclasses.replace(SETTINGS)
    made = build.deployment(view(w.parent, settings), settings, as_owner=True)
    w.objects[ref_of(deployment)] = {**deployment, **pin_template(made, None, view(w.parent, settings).spec_digest)}
    w.one("Deployment", "pay")["metadata"]["generation"] = 1


def test_a_service_of_an_older_operator_gets_its_role_with_its_next_version() -> None:
    w = running()
    as_an_older_operator_made_it(w)
    w.parent["spec"]["settings"] = {"drainDelaySeconds": 7}
    w.step()
    template = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    assert template["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert mounted(template)[DATABASE_SECRET_DIR] == "pay-db", "the release that runs may have made no other role"
    w.parent["spec"]["version"] = "1.1.0"
    w.step()
    finish_job(w)
    w.step()
    assert mounted(w.one("Deployment", "pay")["spec"]["template"]["spec"])[DATABASE_SECRET_DIR] == "pay-db-service"


def external(**references: Obj) -> World:
    w = world({**EXTERNAL, "database": {"external": references}})
    for name, key, uri in (
        ("their-db", "uri", "postgresql://api:p@h:6543/d"),
        ("their-owner", "owner-uri", "postgresql://owner:q@h:7654/d"),
        ("their-cache", "url", "redis://:p@h:6390/0"),
    ):
        made = secret("team", name, {key: uri})
        w.objects[ref_of(made)] = made
    w.step()
    return w


def test_an_external_database_may_have_an_owner_beside_the_apis_role() -> None:
    w = external(secretRef={"name": "their-db"}, ownerSecretRef={"name": "their-owner", "key": "owner-uri"})
    migration = w.lists["jobs"][0]["spec"]["template"]["spec"]
    told = variables(migration)
    assert told[ENV_DATABASE_URI_FILE].endswith("/owner-uri")
    assert told[ENV_DATABASE_SERVICE_URI_FILE].endswith("/uri")
    assert set(mounted(migration).values()) == {"their-db", "their-owner"}
    ports = {p["port"] for r in w.one("NetworkPolicy", "pay-migration")["spec"]["egress"] for p in r["ports"]}
    assert ports == {53, 7654}
    finish_job(w)
    w.step()
    assert "their-owner" not in json.dumps(w.one("Deployment", "pay")["spec"])


def test_an_external_database_without_an_owner_has_one_role_for_both() -> None:
    w = external(secretRef={"name": "their-db"})
    migration = w.lists["jobs"][0]["spec"]["template"]["spec"]
    assert ENV_DATABASE_SERVICE_URI_FILE not in variables(migration)
    assert set(mounted(migration).values()) == {"their-db"}


def test_an_owner_whose_secret_is_missing_is_named_by_its_field() -> None:
    w = external(secretRef={"name": "their-db"}, ownerSecretRef={"name": "nobody"})
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "SecretNotFound")
    assert stalled.message.startswith("spec.database.external.ownerSecretRef: Secret team/nobody")
    assert not w.lists["jobs"]


def test_a_suspended_service_is_left_alone() -> None:
    w = running()
    w.parent["spec"]["suspend"] = True
    plan = w.plan()
    assert not plan.apply
    assert {r for r in w.objects if r.resource.kind != "Job"} <= plan.keep
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("Unknown", "Suspended")


def test_a_stored_object_that_no_schema_checked_is_refused_by_field() -> None:
    w = world({**MANAGED, "autoscaling": {"minReplicas": "many"}})
    with pytest.raises(Stall, match=r"spec\.autoscaling\.minReplicas"):
        w.plan()


def test_development_is_small_and_has_no_budget() -> None:
    w = running({**MANAGED, "profile": "Development"})
    assert "PodDisruptionBudget" not in kinds(w)
    assert w.one("HorizontalPodAutoscaler", "pay")["spec"]["minReplicas"] == 1


def test_a_lock_cannot_hold_the_databases_readiness_probe_for_longer_than_it_may_take() -> None:
    pod = running().one("StatefulSet", "pay-db")["spec"]["template"]["spec"]
    probe = pod["containers"][0]["readinessProbe"]
    script = probe["exec"]["command"][2]
    limited = re.search(r"SET statement_timeout = '(\d+)s'", script)
    assert limited, script
    assert limited.start() < script.index("ALTER ROLE")
    assert int(limited[1]) < probe["timeoutSeconds"]
