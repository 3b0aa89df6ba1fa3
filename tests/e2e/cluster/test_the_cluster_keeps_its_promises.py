import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.localkube.ociimage import Image, Layer, write

Pod = Callable[..., dict[str, Any]]
METRICS_TIMEOUT_S = 90
SCALE_TIMEOUT_S = 90
BURN = "while true; do :; done"


def deployment(pod: Pod, name: str, script: str, replicas: int, **container: Any) -> dict[str, Any]:
    template = pod(name, {"app": name}, script, **container)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    }


def test_metrics_are_served_and_the_autoscaler_acts_on_them(cluster: Any, pod: Pod) -> None:
    limits = {"requests": {"cpu": "20m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "16Mi"}}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    cluster.apply(
        deployment(pod, "busy", BURN, 1, resources=limits),
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "busy"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
                "minReplicas": 1,
                "maxReplicas": 2,
                "metrics": [metric],
            },
        },
    )
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{cluster.namespace}/pods"
    cluster.until(
        "the pod's metrics", lambda: '"cpu"' in cluster.kubectl("get", f"--raw={path}").text, METRICS_TIMEOUT_S
    )
    replicas = ("get", "deployment", "busy", "--output=jsonpath={.spec.replicas}")
    cluster.until("a second replica", lambda: cluster.kubectl(*replicas).text == "2", SCALE_TIMEOUT_S)
    cluster.kubectl("delete", "deployment", "busy", "--wait=false")


def test_a_volume_is_made_on_demand_and_belongs_to_a_pod_without_root(cluster: Any, pod: Pod) -> None:
    writer = pod(
        "writer", {}, "id -u > /data/who && cat /data/who", volumeMounts=[{"name": "data", "mountPath": "/data"}]
    )
    writer["spec"] |= {
        "restartPolicy": "Never",
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    cluster.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim}, writer
    )
    cluster.wait("--for=jsonpath={.status.phase}=Succeeded", "pod/writer")
    assert cluster.kubectl("logs", "writer").text.strip() == "10001"
    assert cluster.kubectl("get", "pvc", "data", "--output=jsonpath={.spec.storageClassName}").text == "standard"


def test_a_disruption_budget_refuses_the_eviction_that_would_break_it(cluster: Any, pod: Pod) -> None:
    cluster.apply(
        deployment(pod, "kept", "sleep 3600", 2),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "kept"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "kept"}}},
        },
    )
    cluster.wait("--for=condition=Available", "deployment/kept")
    cluster.wait("--for=jsonpath={.status.currentHealthy}=2", "pdb/kept")
    name = cluster.kubectl("get", "pods", "--selector=app=kept", "--output=jsonpath={.items[0].metadata.name}").text
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/eviction"
    asked = cluster.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    assert "disruption budget" in asked.text
    cluster.kubectl("delete", "deployment", "kept", "--wait=false")


def test_pod_security_refuses_a_pod_with_privileges(cluster: Any, pod: Pod) -> None:
    privileged = pod("privileged", {}, "id")
    privileged["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    assert 'violates PodSecurity "restricted' in cluster.refused(privileged)


@pytest.fixture
def kind_with_rules(cluster: Any) -> Iterator[str]:
    rule = {"rule": "self.low <= self.high", "message": "low must not exceed high"}
    numbers = {
        "type": "object",
        "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
        "x-kubernetes-validations": [rule],
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": numbers}}},
    }
    # a group of its own for each run: kubectl remembers for hours which plural a kind of a group has
    plural = f"s{cluster.namespace.removeprefix('proof-')}"
    group = f"{plural}.proof.shieldx.dev"
    name = f"{plural}.{group}"
    names = {"plural": plural, "singular": plural.removesuffix("s"), "kind": "Span"}
    cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )
    cluster.wait("--for=condition=Established", f"crd/{name}", timeout_s=20)
    yield f"{group}/v1"
    cluster.kubectl("delete", "crd", name, "--wait=false")


def test_rules_of_a_custom_resource_are_kept_by_the_api_server(cluster: Any, kind_with_rules: str) -> None:
    wrong = {"apiVersion": kind_with_rules, "kind": "Span", "metadata": {"name": "x"}, "spec": {"low": 2, "high": 1}}
    cluster.until(
        "the kind's rules are served", lambda: "low must not exceed high" in cluster.refused(wrong), timeout_s=15
    )


@pytest.fixture
def no_latest(cluster: Any) -> Iterator[str]:
    name = f"no-latest-{cluster.namespace}"
    group = "admissionregistration.k8s.io/v1"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    check = {
        "expression": "object.spec.containers.all(c, !c.image.endsWith(':latest'))",
        "message": "images need a version",
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}}}
    policy = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [pods]}, "validations": [check]}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": here}
    metadata = {"name": name}
    cluster.apply(
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": policy},
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": binding},
    )
    yield check["message"]
    for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding"):
        cluster.kubectl("delete", kind, name)


def test_an_admission_policy_refuses_what_it_forbids(cluster: Any, pod: Pod, no_latest: str) -> None:
    def refuses() -> bool:
        latest = pod("latest", {}, "id", image="docker.io/library/busybox:latest")
        asked = cluster.kubectl("create", "--dry-run=server", "--filename=-", stdin=json.dumps(latest))
        return no_latest in asked.text

    cluster.until("the policy is in force", refuses, timeout_s=20)


def test_an_archive_is_loaded_once(any_cluster: Any, tmp_path: Path) -> None:
    if any_cluster.front_door("status").text.startswith("context"):
        pytest.skip("a context of the user takes images from a registry")
    program = tmp_path / "program"
    program.write_text(f"made at {time.time_ns()}\n")  # never loaded before
    archive = tmp_path / "image.tar"
    write([Image(("localhost/proof:1",), (Layer({"program": program}),))], archive, "x86_64")
    assert "loaded" in any_cluster.front_door("load", str(archive)).text
    assert "in the node already" in any_cluster.front_door("load", str(archive)).text
    listed = any_cluster.front_door("exec-node", "ctr", "--namespace=k8s.io", "images", "ls", "-q").text
    assert "localhost/proof:1" in listed
    any_cluster.front_door("exec-node", "ctr", "--namespace=k8s.io", "images", "rm", "localhost/proof:1")


def test_nothing_in_the_cluster_reaches_the_machine(any_cluster: Any) -> None:
    if not any_cluster.front_door("status").text.startswith("local"):
        pytest.skip("the user's own engine or cluster decides that")
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 -- reachable is what it must not be
        port = listener.getsockname()[1]
        asked = any_cluster.front_door("exec-node", "curl", "--max-time", "2", "-s", f"http://198.18.250.1:{port}")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody came
            listener.accept()
    assert asked.code == 28, f"curl must time out (28): {asked}"
