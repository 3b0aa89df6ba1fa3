"""The chart by the real helm: it lints, refuses wrong values by name, and renders what the operator needs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import deploy

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "shieldx-platform"
BUILD_TIMEOUT_S = 900  # the first use builds helm

Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dev.tools", "helm", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )


def render(*settings: str) -> list[Manifest]:
    values = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "shieldx", str(CHART), "--namespace", "shieldx-system", *values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


@pytest.fixture(scope="module")
def rendered() -> list[Manifest]:
    return render()


def test_it_lints_without_a_warning() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("replicas=0", "replicas"),
        ("replica=2", "replica"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=latest", "digest"),
        ("operator.logLevel=loud", "logLevel"),
        ("operator.resyncSeconds=0", "resyncSeconds"),
        ("watchNamespaces={Team_A}", "watchNamespaces"),
        ("networkPolicy.apiServerPorts={}", "apiServerPorts"),
    ],
)
def test_a_wrong_value_is_refused_by_name(setting: str, named: str) -> None:
    done = helm("template", "shieldx", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_crds_are_those_of_the_types_and_survive_an_uninstall(rendered: list[Manifest]) -> None:
    crds = of_kind(rendered, "CustomResourceDefinition")
    wanted = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*s.yaml")]
    assert {c["metadata"]["name"]: c["spec"] for c in crds} == {w["metadata"]["name"]: w["spec"] for w in wanted}
    assert all(c["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for c in crds)
    assert of_kind(render("crds.install=false"), "CustomResourceDefinition") == []


def test_pods_are_restricted_and_hold_no_more_than_they_need(rendered: list[Manifest]) -> None:
    (deployment,) = of_kind(rendered, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= set(container)


def test_by_default_one_cluster_role_has_exactly_the_generated_rules(rendered: list[Manifest]) -> None:
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    (binding,) = of_kind(rendered, "ClusterRoleBinding")
    granted = {role["metadata"]["name"]: role["rules"] for role in of_kind(rendered, "ClusterRole")}
    assert granted[binding["roleRef"]["name"]] == rules["watched"]
    (home,) = of_kind(rendered, "Role")
    assert home["rules"] == rules["home"]
    assert home["metadata"]["namespace"] == "shieldx-system"


def test_named_namespaces_get_a_role_each_and_nothing_is_cluster_wide() -> None:
    manifests = render("watchNamespaces={team-a,team-b}", "aggregateRoles=false")
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    assert of_kind(manifests, "ClusterRole") == []
    assert of_kind(manifests, "ClusterRoleBinding") == []
    watched = [role for role in of_kind(manifests, "Role") if role["metadata"]["namespace"] != "shieldx-system"]
    assert {role["metadata"]["namespace"] for role in watched} == {"team-a", "team-b"}
    assert all(role["rules"] == rules["watched"] for role in watched)
    (deployment,) = of_kind(manifests, "Deployment")
    environment = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["SHIELDX_WATCH_NAMESPACES"] == "team-a,team-b"


def test_a_digest_is_what_the_operator_runs_and_services_run_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    (deployment,) = of_kind(render(f"image.digest={digest}", "image.tag=v9"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {e["name"]: e.get("value") for e in container["env"]}
    assert container["image"] == f"ghcr.io/shieldx/platform@{digest}"
    # a service's version is a label and a tag: a digest is neither
    assert environment["SHIELDX_RUNTIME_IMAGE"] == "ghcr.io/shieldx/platform:v9"


def test_the_workers_of_evaluations_are_confined_unless_another_release_does_it(rendered: list[Manifest]) -> None:
    (policy,) = of_kind(rendered, "ValidatingAdmissionPolicy")
    (binding,) = of_kind(rendered, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert of_kind(render("admissionPolicy=false"), "ValidatingAdmissionPolicy") == []


def test_alerts_are_there_when_they_are_asked_for(rendered: list[Manifest]) -> None:
    assert of_kind(rendered, "PrometheusRule") == []
    (rule,) = of_kind(render("prometheusRule.enabled=true"), "PrometheusRule")
    alerts = {alert["alert"] for group in rule["spec"]["groups"] for alert in group["rules"]}
    assert {"CreditsErrorRate", "CreditsSlow", "CreditsCacheMisses", "CreditsFewPods"} <= alerts


def test_the_plain_manifests_are_what_the_chart_gives() -> None:
    assert deploy.TARGET.read_text() == deploy.rendered()
