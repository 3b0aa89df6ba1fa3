"""The schema comes before the pods, and an old version serves on while a new one's migration fails."""

import pytest

from shieldx_operator.blocks import hold
from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.engine.types import GeneratedSecret, Obj
from tests.unit.kinds.creditsservice.world import finish_job, kinds, make_stores_ready, running, world
from tests.unit.kinds.world import World


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
    w.roll_out("pay", 3)
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
        w.roll_out("pay", 3)
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


def test_a_new_claim_is_a_new_database_and_gets_its_schema() -> None:
    w = running()
    old = w.lists["jobs"][0]["metadata"]["name"]
    w.one("PersistentVolumeClaim", "pay-db")["metadata"]["uid"] = "another"
    w.step()
    assert w.lists["jobs"][0]["metadata"]["name"] != old
