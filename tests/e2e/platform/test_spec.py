"""Numbers of the object arrive in what runs; what cannot be changed is refused at the door."""

import requests

from shieldx_operator.api.defaults import DEVELOPMENT
from shieldx_operator.blocks.resources import CONFIG_MAP, DEPLOYMENT, HPA, PDB, PVC, STATEFUL_SET
from tests.e2e.platform.conftest import SERVICE, SPEC, Running, make_namespace
from tests.e2e.platform.world import NAMESPACES, SERVICES, Obj, Ref, World, condition
from tests.e2e.waiting import until

STORES = ("database", "cache")


def targets(hpa: Obj) -> dict[str, int]:
    return {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in hpa["spec"]["metrics"]}


def test_changed_numbers_reach_the_autoscaler_and_the_budget(running: Running) -> None:
    world = running.world
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 4,
        "targetCPUUtilizationPercentage": 300,
        "targetMemoryUtilizationPercentage": 90,
        "scaleDownStabilizationSeconds": 120,
    }
    world.change(running.ref, {"spec": {"autoscaling": scaling, "disruption": {"minAvailable": 0}}})
    hpa = world.ref(HPA, SERVICE)
    until("the autoscaler has them", lambda: world.get(hpa)["spec"]["maxReplicas"] == 4)
    live = world.get(hpa)
    assert live["spec"]["minReplicas"] == 2
    assert targets(live) == {"cpu": 300, "memory": 90}
    assert live["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 120
    until("without a number to keep there is no budget", lambda: world.find(world.ref(PDB, SERVICE)) is None)
    effective = running.ready()["status"]["effective"]
    assert effective["autoscaling"] == scaling
    assert effective["disruption"] == {"minAvailable": 0}


def test_the_laptop_profile_is_small_and_its_numbers_can_be_read(running: Running) -> None:
    """What the shared service left unset is the Development profile's; status.effective shows it."""
    live, world = running.ready(), running.world
    effective = live["status"]["effective"]
    (container,) = world.get(world.ref(DEPLOYMENT, SERVICE))["spec"]["template"]["spec"]["containers"]
    small = {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    assert effective["profile"] == "Development"
    assert effective["resources"] == container["resources"] == small
    assert live["spec"] == SPEC, "no default is written into the object"
    for suffix, kept in (("-db", effective["database"]), ("-cache", effective["cache"])):
        (store,) = world.get(world.ref(STATEFUL_SET, f"{SERVICE}{suffix}"))["spec"]["template"]["spec"]["containers"]
        assert store["resources"] == kept["managed"]["resources"]
    settings = world.get(world.ref(CONFIG_MAP, f"{SERVICE}-config"))["data"]
    assert settings["SHIELDX_POOL_MAX_SIZE"] == str(effective["settings"]["poolMaxSize"]) == "3"


def test_the_storage_class_cannot_be_changed_and_the_message_names_it(running: Running) -> None:
    patch = {"spec": {"database": {"managed": {"storage": {"storageClassName": "another"}}}}}
    refused = running.world.try_change(running.ref, patch)
    assert refused.status_code == requests.codes.unprocessable_entity
    message = refused.json()["message"]
    assert "spec.database.managed.storage" in message
    assert "storageClassName" in message


def test_more_pods_to_keep_than_there_are_is_refused(running: Running) -> None:
    refused = running.world.try_change(running.ref, {"spec": {"disruption": {"minAvailable": 2}}})
    assert refused.status_code == requests.codes.unprocessable_entity
    assert "minAvailable" in refused.json()["message"]


def test_the_production_profile_has_the_numbers_of_a_cluster_that_serves(world: World) -> None:
    """With small stores. Its API's pods ask for more than a small machine has: then the object says so."""
    own = world.elsewhere(f"{world.namespace}-production")
    make_namespace(own)
    ref = own.ref(SERVICES, SERVICE)
    stores = {name: {"managed": {"resources": DEVELOPMENT[name]["managed"]["resources"]}} for name in STORES}
    stores["cache"]["managed"]["maxMemory"] = DEVELOPMENT["cache"]["managed"]["maxMemory"]
    own.apply(ref, spec=stores)
    until("the autoscaler is there", lambda: own.find(own.ref(HPA, SERVICE)), 120)
    hpa, budget = own.get(own.ref(HPA, SERVICE)), until("a budget", lambda: own.find(own.ref(PDB, SERVICE)))
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"], targets(hpa)) == (3, 10, {"cpu": 70, "memory": 80})
    assert hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert budget["spec"]["minAvailable"] == 2
    live = own.get(own.ref(DEPLOYMENT, SERVICE))
    (container,) = live["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }
    assert live["spec"]["replicas"] == 3
    assert {c["metadata"]["name"] for c in own.all(PVC)} == {f"{SERVICE}-db", f"{SERVICE}-cache"}

    def told() -> Obj | None:
        ready = condition(own.get(ref))
        return ready if ready.get("status") == "True" or ready.get("reason") == "Unschedulable" else None

    ready = until("the object says whether its pods fit", told, 60)
    assert ready["status"] == "True" or "Insufficient cpu" in ready["message"]
    own.delete(ref)
    own.gone(ref)
    own.delete(Ref(NAMESPACES, "", own.namespace))
