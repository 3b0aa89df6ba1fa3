"""The pods of a service: their numbers and bounds, what restarts them, and what is told of them."""

import dataclasses
import re

import pytest

from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.engine.types import GeneratedSecret, Obj, Plan, Stall
from shieldx_operator.kinds.creditsservice import CreditsServiceKind
from tests.unit.kinds.creditsservice.world import MANAGED, finish_job, kinds, make_stores_ready, running, world
from tests.unit.kinds.world import SETTINGS


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


def deployment_in(plan: Plan) -> Obj:
    return next(o for o in plan.apply if not isinstance(o, GeneratedSecret) and o["kind"] == "Deployment")


def test_replicas_are_given_once_and_then_belong_to_the_autoscaler() -> None:
    w = world()
    w.step()
    make_stores_ready(w)
    w.step()
    finish_job(w)
    plan = w.plan()
    deployment = deployment_in(plan)
    assert "replicas" not in deployment["spec"]
    assert plan.initial[ref_of(deployment)] == {"spec": {"replicas": 3}}


def test_a_deployment_that_somebody_scaled_to_none_gets_a_pod_and_is_the_autoscalers_again() -> None:
    w = running()
    w.one("Deployment", "pay")["spec"]["replicas"] = 0
    w.step()
    assert w.one("Deployment", "pay")["spec"]["replicas"] == 1
    assert "replicas" not in deployment_in(w.plan())["spec"]
    w.one("Deployment", "pay")["spec"]["replicas"] = 0
    w.parent["spec"]["suspend"] = True
    assert not w.plan().apply, "a suspended service may have none"


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
