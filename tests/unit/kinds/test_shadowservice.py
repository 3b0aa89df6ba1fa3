import copy
import dataclasses
from typing import Any

import pytest

from shieldx_operator.blocks.resources import CONFIG_MAP, DEPLOYMENT, PVC, SECRET
from shieldx_operator.blocks.workload import TEMPLATE_DIGEST_ANNOTATION, pin_template
from shieldx_operator.engine.permissions import required
from shieldx_operator.engine.types import GeneratedSecret, Obj, Ref
from shieldx_operator.kinds.creditsservice import CreditsServiceKind
from shieldx_operator.kinds.shadowservice import ShadowServiceKind
from shieldx_operator.kinds.shadowservice.view import CREDITS_RESOURCE, view
from tests.unit.kinds.creditsservice.world import MANAGED
from tests.unit.kinds.creditsservice.world import running as running_credits
from tests.unit.kinds.world import SETTINGS, World, mounted, secret

CLAIM = Ref(PVC, "team", "pay-db")
EXTERNAL: Obj = {
    "database": {"external": {"secretRef": {"name": "my-db", "key": "url"}}},
    "cache": {"external": {"secretRef": {"name": "my-cache", "key": "uri"}}},
}


def service(spec: Obj | None = None) -> Obj:
    return {
        "apiVersion": "platform.shieldx.io/v1alpha1",
        "kind": "ShadowService",
        "metadata": {"namespace": "team", "name": "shadow", "uid": "u2", "generation": 1},
        "spec": {"creditsRef": {"name": "pay"}, **(spec or {})},
    }


def credits_object(effective: Obj, *, ready: int = 3) -> Obj:
    told = {"effective": effective, "readyReplicas": ready, "conditions": [{"type": "Ready", "message": "rolling out"}]}
    return {"metadata": {"namespace": "team", "name": "pay"}, "status": told}


def world(spec: Obj | None = None, effective: Obj | None = None, *, ready: int = 3, **settings: Any) -> World:
    """A namespace whose credits service has stores as in `effective` and `ready` pods."""
    made = World(ShadowServiceKind(dataclasses.replace(SETTINGS, **settings)), service(spec))
    made.objects[Ref(CREDITS_RESOURCE, "team", "pay")] = credits_object(effective or MANAGED, ready=ready)
    made.objects[CLAIM] = {"kind": "PersistentVolumeClaim", "metadata": {"name": "pay-db", "uid": "claim-1"}}
    made.objects[Ref(SECRET, "team", "pay-auth")] = secret("team", "pay-auth", {"admin-key": "k", "pepper": "p"})
    return made


def built(w: World) -> dict[str, Obj]:
    """What the plan applies, by kind and name."""
    return {f"{o['kind']} {o['metadata']['name']}": o for o in w.plan().apply if isinstance(o, dict)}


def test_it_starts_when_the_credits_service_serves() -> None:
    w = world(ready=0)
    assert w.plan().apply == ()
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "CreditsServiceNotReady")
    assert "rolling out" in ready.message
    assert w.status().requeue_after_s is not None
    assert "Deployment shadow" in built(world())


def test_a_wrong_reference_is_told_with_its_field() -> None:
    w = world()
    del w.objects[Ref(CREDITS_RESOURCE, "team", "pay")]
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "CreditsServiceNotFound")
    assert "spec.creditsRef.name" in stalled.message


def test_production_numbers_stand_in_the_objects() -> None:
    objects = built(world())
    hpa = objects["HorizontalPodAutoscaler shadow"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 6)
    targets = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in hpa["metrics"]}
    assert targets == {"cpu": 75}
    assert objects["PodDisruptionBudget shadow"]["spec"]["minAvailable"] == 1
    container = objects["Deployment shadow"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "1000m", "memory": "1Gi"},
        "limits": {"cpu": "4000m", "memory": "4Gi"},
    }
    assert container["command"] == ["python", "-m", "shieldx_runtime", "shadow", "serve"]


def test_the_pod_is_as_restricted_as_one_of_the_credits_service() -> None:
    mine = built(world())["Deployment shadow"]["spec"]["template"]["spec"]
    theirs = running_credits().one("Deployment", "pay")["spec"]["template"]["spec"]
    assert mine["securityContext"] == theirs["securityContext"]
    assert mine["containers"][0]["securityContext"] == theirs["containers"][0]["securityContext"]
    assert mine["automountServiceAccountToken"] is False


def test_a_served_object_is_ready_and_says_where() -> None:
    w = world()
    w.step()
    w.roll_out("shadow", 2)
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("True", "Available")
    told = w.parent["status"]
    assert (told["endpoint"], told["ready"], told["version"]) == ("http://shadow.team.svc:8080", "2/2", "1.0.0")
    assert w.status().requeue_after_s is None


def test_it_goes_on_running_while_the_credits_service_is_away() -> None:
    w = world()
    w.step()
    w.roll_out("shadow", 2)
    w.objects[Ref(CREDITS_RESOURCE, "team", "pay")] = credits_object(MANAGED, ready=0)
    w.step()
    assert w.one("Deployment", "shadow")
    assert w.condition("Ready").reason == "CreditsServiceNotReady"


def test_it_is_let_in_at_managed_stores_and_nobody_else_is() -> None:
    policies = {k: v["spec"] for k, v in built(world()).items() if k.startswith("NetworkPolicy")}
    for component, port in (("database", 5432), ("cache", 6379)):
        spec = policies[f"NetworkPolicy shadow-to-{component}"]
        assert spec["policyTypes"] == ["Ingress"]
        assert spec["podSelector"]["matchLabels"] == {
            "app.kubernetes.io/name": "credits",
            "app.kubernetes.io/instance": "pay",
            "app.kubernetes.io/component": component,
        }
        (rule,) = spec["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": port}]
        assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "shadow"
    assert not policies["NetworkPolicy shadow-api"].get("ingress"), "nobody is named, so nobody may call"


def test_stores_outside_are_reached_by_the_ports_of_their_uris() -> None:
    w = world(effective=EXTERNAL)
    w.objects[Ref(SECRET, "team", "my-db")] = secret("team", "my-db", {"url": "postgresql://u:p@db.example:6432/x"})
    w.status()
    assert w.parent["status"]["stores"] == {"database": "my-db", "cache": "my-cache"}
    assert Ref(SECRET, "team", "my-db") in w.kind.reads(w.parent).objects
    rules = built(w)["NetworkPolicy shadow-api"]["spec"]["egress"]
    assert [r["ports"][0]["port"] for r in rules[1:]] == [6432, 6379]
    assert not any("-to-" in name for name in built(w))
    volumes = built(w)["Deployment shadow"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["secret"]["items"] == [{"key": "url", "path": "url"}]


def test_a_newer_operator_restarts_nothing_and_changes_no_version() -> None:
    w = world()
    w.step()
    w.roll_out("shadow", 2)
    w.status()
    newer = dataclasses.replace(SETTINGS, runtime_image="registry.test/platform:2.0.0", image_pull_policy="Always")
    before = copy.deepcopy(w.one("Deployment", "shadow")["spec"]["template"])
    w.kind = ShadowServiceKind(newer)
    w.step()
    assert w.one("Deployment", "shadow")["spec"]["template"] == before


def test_a_suspended_service_is_left_alone() -> None:
    w = world()
    w.step()
    w.parent["spec"]["suspend"] = True
    plan = w.plan()
    assert plan.apply == ()
    assert any(ref.name == "shadow" and ref.resource.kind == "Deployment" for ref in plan.keep)
    assert w.condition("Ready").status == "Unknown"


def test_it_may_read_the_credits_service_and_never_change_it() -> None:
    rules = required([ShadowServiceKind(SETTINGS)])
    verbs = {v for r in rules if "creditsservices" in r.resources for v in r.verbs}
    assert verbs == {"get", "list"}
    both = required([ShadowServiceKind(SETTINGS), CreditsServiceKind(SETTINGS)])
    assert len(both) <= len(rules) + len(required([CreditsServiceKind(SETTINGS)]))


BILLING: Obj = {"billing": {"creditsPerThousandSamples": 5, "keySecretRef": {"name": "shadow-billing"}}}
KEY = "sxk_0123456789abcdef_" + "k" * 43


def paid(**data: str) -> World:
    w = world(BILLING)
    w.objects[Ref(SECRET, "team", "shadow-billing")] = secret("team", "shadow-billing", data or {"key": KEY})
    return w


def test_paid_evaluations_reach_the_credits_service_with_a_key_out_of_a_file() -> None:
    objects = built(paid())
    environment = objects["ConfigMap shadow-config"]["data"]
    told = {k: v for k, v in environment.items() if "BILLING" in k}
    assert told == {
        "SHIELDX_SHADOW_BILLING_URL": "http://pay.team.svc:8080",
        "SHIELDX_SHADOW_BILLING_KEY_FILE": "/etc/shieldx/secrets/billing/key",
        "SHIELDX_SHADOW_BILLING_CREDITS_PER_1000_SAMPLES": "5",
        "SHIELDX_SHADOW_BILLING_HOLD_S": "3600",
    }
    assert KEY not in str(objects), "the key stands in no object but its Secret"
    spec = objects["Deployment shadow"]["spec"]["template"]["spec"]
    (volume,) = [v for v in spec["volumes"] if v["name"] == "billing"]
    assert (volume["secret"]["secretName"], volume["secret"]["items"]) == (
        "shadow-billing",
        [{"key": "key", "path": "key"}],
    )
    credits_pods = {
        "app.kubernetes.io/name": "credits",
        "app.kubernetes.io/instance": "pay",
        "app.kubernetes.io/component": "api",
    }
    rule = objects["NetworkPolicy shadow-api"]["spec"]["egress"][-1]
    assert rule["to"][0]["podSelector"]["matchLabels"] == credits_pods
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    let_in = objects["NetworkPolicy shadow-to-api"]["spec"]
    assert (let_in["podSelector"]["matchLabels"], let_in["policyTypes"]) == (credits_pods, ["Ingress"])


def test_evaluations_that_cost_nothing_reach_no_credits_service() -> None:
    objects = built(world())
    assert not any("BILLING" in name for name in objects["ConfigMap shadow-config"]["data"])
    assert "NetworkPolicy shadow-to-api" not in objects
    assert len(objects["NetworkPolicy shadow-api"]["spec"]["egress"]) == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [({}, "SecretNotFound"), ({"other": KEY}, "SecretKeyMissing"), ({"key": "abc"}, "SecretInvalid")],
)
def test_a_key_that_is_not_there_is_told_and_what_serves_goes_on(data: dict[str, str], reason: str) -> None:
    w = world()
    w.step()
    w.roll_out("shadow", 2)
    before = copy.deepcopy(w.one("Deployment", "shadow")["spec"]["template"])
    w.parent["spec"] |= BILLING
    w.parent["metadata"]["generation"] = 2
    if data:
        w.objects[Ref(SECRET, "team", "shadow-billing")] = secret("team", "shadow-billing", data)
    w.step()
    assert w.one("Deployment", "shadow")["spec"]["template"] == before
    told = w.condition("BillingReady")
    assert (told.status, told.reason) == ("False", reason)
    assert "spec.billing.keySecretRef" in told.message
    assert KEY not in told.message
    assert w.condition("Stalled").status == "True"
    w.objects[Ref(SECRET, "team", "shadow-billing")] = secret("team", "shadow-billing", {"key": KEY})
    w.step()
    assert "billing" in str(w.one("Deployment", "shadow")["spec"]["template"])
    assert w.condition("BillingReady").status == "True"


def test_a_service_whose_evaluations_nobody_can_pay_for_does_not_start() -> None:
    w = world(BILLING)
    assert w.plan().apply == ()
    assert w.condition("Ready").reason == "SecretNotFound"
    assert w.condition("Stalled").status == "True"


def pod_of(w: World) -> Obj:
    pod: Obj = built(w)["Deployment shadow"]["spec"]["template"]["spec"]
    return pod


def test_the_api_connects_by_a_role_of_its_own_that_the_owner_makes_before_it_starts() -> None:
    w = world()
    (made,) = [o for o in w.plan().apply if isinstance(o, GeneratedSecret)]
    assert made.metadata["name"] == "shadow-db"
    assert made.derived["uri"] == "postgresql://shadow_shadow:{password}@pay-db.team.svc:5432/credits"
    pod = pod_of(w)
    (migrate,), (api,) = pod["initContainers"], pod["containers"]
    secrets = "/etc/shieldx/secrets"
    assert mounted(pod, migrate) == {f"{secrets}/database": "shadow-db", f"{secrets}/database-owner": "pay-db"}
    assert "pay-db" not in mounted(pod, api).values(), "the owner's password is not where requests are answered"
    assert mounted(pod, api)[f"{secrets}/database"] == "shadow-db"
    assert migrate["command"] == ["python", "-m", "shieldx_runtime", "shadow", "migrate"]
    assert {e["name"]: e["value"] for e in migrate["env"]} == {
        "SHIELDX_DATABASE_URI_FILE": f"{secrets}/database-owner/uri",
        "SHIELDX_DATABASE_SERVICE_URI_FILE": f"{secrets}/database/uri",
    }
    assert migrate["securityContext"] == api["securityContext"]
    assert built(w)["ConfigMap shadow-config"]["data"]["SHIELDX_DATABASE_URI_FILE"] == f"{secrets}/database/uri"


def test_where_the_user_has_made_a_role_for_the_credits_service_it_serves_here_too() -> None:
    external = {"secretRef": {"name": "my-db", "key": "url"}, "ownerSecretRef": {"name": "my-owner", "key": "dsn"}}
    w = world(effective={**EXTERNAL, "database": {"external": external}})
    assert not [o for o in w.plan().apply if isinstance(o, GeneratedSecret)]
    pod = pod_of(w)
    assert mounted(pod, pod["containers"][0])["/etc/shieldx/secrets/database"] == "my-db"
    assert "my-owner" in mounted(pod, pod["initContainers"][0]).values()
    values = {e["value"] for e in pod["initContainers"][0]["env"]}
    assert values == {"/etc/shieldx/secrets/database-owner/dsn", "/etc/shieldx/secrets/database/url"}


def test_one_role_does_both_where_there_is_but_one() -> None:
    assert "initContainers" not in pod_of(world(effective=EXTERNAL))


def test_a_service_of_an_older_operator_goes_over_with_its_next_version() -> None:
    w = world()
    w.step()
    deployment = w.one("Deployment", "shadow")
    pod = deployment["spec"]["template"]["spec"]
    del pod["initContainers"]
    pod["volumes"] = [v for v in pod["volumes"] if v["name"] != "database-owner"]
    next(v for v in pod["volumes"] if v["name"] == "database")["secret"]["secretName"] = "pay-db"
    w.objects[Ref(DEPLOYMENT, "team", "shadow")] = pin_template(deployment, None, "as it was")
    w.parent["spec"]["settings"] = {"logLevel": "debug"}
    assert "initContainers" not in pod_of(w), "its image may have no such command"
    w.parent["spec"]["version"] = "1.1.0"
    assert "initContainers" in pod_of(w)


def inputs_of(w: World) -> str:
    """What the pod template was made of."""
    notes = w.one("Deployment", "shadow")["metadata"]["annotations"]
    return str(notes[TEMPLATE_DIGEST_ANNOTATION]).partition(".")[0]


def settled(w: World) -> str:
    """Two looks: at the second the Secret that the first made is there."""
    w.step()
    w.step()
    return inputs_of(w)


@pytest.mark.parametrize("gone", [Ref(SECRET, "team", "shadow-db"), CLAIM], ids=["the role's Secret", "the claim"])
def test_pods_start_again_where_the_role_that_they_connect_by_must_be_made_anew(gone: Ref) -> None:
    w = world()
    before = settled(w)
    lost = w.objects.pop(gone)
    w.kind = ShadowServiceKind(dataclasses.replace(SETTINGS, image_pull_policy="Always"))
    w.step()
    assert inputs_of(w) == before, "nothing to start again with while it is missing"
    w.objects[gone] = {**lost, "metadata": {**lost["metadata"], "uid": "another"}}
    w.step()
    assert inputs_of(w) != before
    pod = w.one("Deployment", "shadow")["spec"]["template"]["spec"]
    assert pod["containers"][0]["imagePullPolicy"] == "Always", "the template was made anew"


def test_the_pods_of_a_new_service_start_once() -> None:
    w = world()
    w.step()
    before = copy.deepcopy(w.one("Deployment", "shadow")["spec"]["template"])
    w.kind = ShadowServiceKind(dataclasses.replace(SETTINGS, image_pull_policy="Always"))
    w.step()
    assert w.one("Deployment", "shadow")["spec"]["template"] == before
    assert settled(w) == settled(w)


@pytest.mark.parametrize("lost", [False, True])
def test_a_template_of_an_older_operator_stays_unless_the_secret_was_lost_meanwhile(lost: bool) -> None:
    w = world()
    settled(w)
    deployment = w.one("Deployment", "shadow")
    older = pin_template(deployment, None, view(w.parent, SETTINGS).spec_digest)
    w.objects[Ref(DEPLOYMENT, "team", "shadow")] = older
    w.kind = ShadowServiceKind(dataclasses.replace(SETTINGS, image_pull_policy="Always"))
    role = w.objects[Ref(SECRET, "team", "shadow-db")]
    if lost:
        del w.objects[Ref(SECRET, "team", "shadow-db")]
        w.step()
        role["metadata"]["uid"] = "another"
        w.objects[Ref(SECRET, "team", "shadow-db")] = role
    w.step()
    assert (w.one("Deployment", "shadow")["spec"]["template"] == older["spec"]["template"]) is not lost


def test_pods_that_are_held_keep_their_configuration_too() -> None:
    w = world()
    settled(w)
    before = w.one("ConfigMap", "shadow-config")["data"]
    w.parent["spec"] |= BILLING
    plan = w.step()
    assert w.one("ConfigMap", "shadow-config")["data"] == before
    assert any(ref.name == "shadow-config" for ref in plan.keep), "it is not pruned either"
    del w.objects[Ref(CONFIG_MAP, "team", "shadow-config")]
    w.step()
    assert w.one("ConfigMap", "shadow-config"), "without any the pods cannot start at all"
