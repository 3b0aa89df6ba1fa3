"""How the pods run: the level `restricted` is enforced, and what they hold is no more than they need."""

from shieldx_operator.blocks.resources import POD
from tests.e2e.platform.conftest import SERVICE, Running
from tests.e2e.platform.world import NAMESPACES, Ref, World

LEVEL = "pod-security.kubernetes.io/enforce"


def test_the_namespace_enforces_the_restricted_level_and_all_pods_run_in_it(running: Running) -> None:
    world = running.world
    assert world.get(Ref(NAMESPACES, "", world.namespace))["metadata"]["labels"][LEVEL] == "restricted"
    assert {c for p in world.all(POD) for c in [p["metadata"]["labels"].get("app.kubernetes.io/component")] if c} == {
        "api",
        "database",
        "cache",
        "migration",
    }
    intruder = {"containers": [{"name": "main", "image": "busybox", "securityContext": {"privileged": True}}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "intruder"}, "spec": intruder}
    refused = world.call("POST", f"/api/v1/namespaces/{world.namespace}/pods", body)
    assert refused.status_code == 403, "the level is enforced indeed"


def test_the_operators_own_pods_would_run_at_the_restricted_level(world: World) -> None:
    said = world.kubectl(
        *("label", "--dry-run=server", "--overwrite", "namespace", "shieldx-system", f"{LEVEL}=restricted"), check=False
    )
    assert "violate" not in said, said
    bad = world.kubectl(
        *("label", "--dry-run=server", "--overwrite", "namespace", "kube-system", f"{LEVEL}=restricted"), check=False
    )
    assert "violate" in bad, "the same question finds what is not"


def test_no_pod_of_the_service_holds_a_token_of_the_api_server(running: Running) -> None:
    for pod in running.world.all(POD, f"app.kubernetes.io/instance={SERVICE}"):
        projected = [v for v in pod["spec"]["volumes"] if "projected" in v]
        assert projected == [], pod["metadata"]["name"]


def test_the_root_of_a_pod_cannot_be_written_and_its_user_is_nobody_special(running: Running) -> None:
    world = running.world
    tried = "import os; print(os.getuid()); open('/opt/written', 'w')"
    said = world.kubectl("exec", f"deploy/{SERVICE}", "--", "python", "-c", tried, check=False)
    assert said.startswith("10001\n")
    assert "Read-only file system" in said
