"""The chart on a real cluster: confined pods, a policy that is enforced, and what its life leaves alone."""

import json

import pytest

from shieldx_contract import API_GROUP, LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from shieldx_operator.blocks.resources import POD
from shieldx_operator.engine.types import Obj, Ref, Resource
from tests.e2e.operator import compare
from tests.e2e.operator.life import SERVICE, Life, service_spec, wait_ready
from tests.e2e.operator.release import SYSTEM, Release
from tests.e2e.operator.site import NAMESPACES, PREFIX, RESTRICTED, Site
from tests.e2e.waiting import until

CONFINED, UNWATCHED = f"{PREFIX}confined", f"{PREFIX}unwatched"
CRDS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles")
OPERATOR_ROLE = f"{SYSTEM}-shieldx-operator"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:shieldx-operator"

_CONNECT = """
import json, socket, sys
found = {}
for name, host, port in json.load(sys.stdin):
    try:
        socket.create_connection((host, port), timeout=3).close()
        found[name] = True
    except OSError:
        found[name] = False
print(json.dumps(found))
"""


def test_its_pods_are_what_a_restricted_namespace_admits(site: Site, release: Release) -> None:
    labels = site.there(Ref(NAMESPACES, "", SYSTEM))["metadata"]["labels"]
    assert RESTRICTED.items() <= labels.items()
    assert len(release.pods()) == 2
    image = release.pods()[0]["spec"]["containers"][0]["image"]
    bold = {"containers": [{"name": "a", "image": image, "securityContext": {"privileged": True}}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bold"}, "spec": bold}
    refused = site.kubectl("create", "-n", SYSTEM, "-f", "-", stdin=json.dumps(body), check=False)
    assert "violates PodSecurity" in refused.err


def test_the_policy_lets_it_reach_what_it_works_with_and_nothing_else(
    site: Site, release: Release, standing: Life
) -> None:
    host = f"{SERVICE}.{standing.namespace}.svc"
    wanted = [
        ("API server", "kubernetes.default.svc", 443),
        ("credits API", host, 8080),
        ("database", f"{SERVICE}-db.{standing.namespace}.svc", 5432),
        ("cache", f"{SERVICE}-cache.{standing.namespace}.svc", 6379),
    ]
    target = ("exec", "-i", release.leader(), "-n", SYSTEM, "--", "python", "-c", _CONNECT)
    reached = json.loads(site.kubectl(*target, stdin=json.dumps(wanted)).out)
    assert reached == {"API server": True, "credits API": True, "database": False, "cache": False}


@pytest.mark.parametrize("path", [LIVENESS_PATH, READINESS_PATH, METRICS_PATH])
def test_each_of_its_pods_answers_its_probes(release: Release, path: str) -> None:
    for pod in release.pods():
        code, text = release.probe(pod["metadata"]["name"], path)
        assert code == 200
        if path == METRICS_PATH:
            assert "shieldx_operator_leader" in text
        else:
            assert json.loads(text) == {"status": "ok", "problems": []}


def may(site: Site, *question: str) -> bool:
    return site.kubectl("auth", "can-i", *question, f"--as={ACCOUNT}", check=False).out.strip() == "yes"


@pytest.fixture(scope="module")
def confined(site: Site, any_release: Release, standing: Life) -> Release:
    """An upgrade with other values: one pod, one namespace. A service in that one, and one in another."""
    before = standing.pods()
    for name in (CONFINED, UNWATCHED):
        site.namespace(name)
    any_release.ensure(watchNamespaces=[CONFINED], replicas=1, operator={"logLevel": "debug"})
    small = service_spec(autoscaling=None, disruption=None)
    for namespace in (UNWATCHED, CONFINED):
        site.apply(Ref(standing.service.resource, namespace, SERVICE), spec=small)
    assert standing.pods() == before
    return any_release


def test_confined_to_a_namespace_it_works_there(site: Site, confined: Release, standing: Life) -> None:
    wait_ready(site, Ref(standing.service.resource, CONFINED, SERVICE))
    leader = confined.leader()
    refused = [s for s in confined.metrics(leader, "shieldx_operator_api_calls_total") if s.labels["code"] == "403"]
    assert refused == []
    assert confined.probe(leader, LIVENESS_PATH)[0] == 200
    assert "forbidden" not in "\n".join(confined.logs()).lower()


def test_confined_to_a_namespace_it_touches_nothing_elsewhere(site: Site, confined: Release, standing: Life) -> None:
    assert confined.leader()
    ignored = site.there(Ref(standing.service.resource, UNWATCHED, SERVICE))
    assert "status" not in ignored
    assert [f"{o['kind']} {o['metadata']['name']}" for o in compare.everything(site, UNWATCHED)] == [
        f"CreditsService {SERVICE}"
    ]


def test_confined_to_a_namespace_it_may_do_nothing_elsewhere(site: Site, confined: Release) -> None:
    assert confined.leader()
    assert site.get(Ref(CLUSTER_ROLES, "", OPERATOR_ROLE)) is None
    assert site.get(Ref(ROLES, CONFINED, OPERATOR_ROLE)) is not None
    for verb, resource in (
        ("list", "secrets"),
        ("get", f"creditsservices.{API_GROUP}"),
        ("create", "deployments.apps"),
    ):
        assert may(site, verb, resource, "-n", CONFINED)
        assert not may(site, verb, resource, "-n", UNWATCHED)
        assert not may(site, verb, resource, "--all-namespaces")
    assert not may(site, "update", "leases.coordination.k8s.io", "-n", CONFINED)


def test_uninstalled_it_leaves_objects_pods_and_definitions_and_takes_them_up_again(
    site: Site, confined: Release, standing: Life
) -> None:
    for namespace in (CONFINED, UNWATCHED):
        site.delete(Ref(NAMESPACES, "", namespace))
    before, objects = standing.pods(), spec_of(site, standing)
    confined.uninstall()
    until("its pods are gone", lambda: not site.list(POD, SYSTEM), 60)
    assert site.get(Ref(CLUSTER_ROLES, "", OPERATOR_ROLE)) is None
    for plural in ("creditsservices", "tenants"):
        assert site.get(Ref(CRDS, "", f"{plural}.{API_GROUP}")) is not None
    assert spec_of(site, standing) == objects
    assert standing.balance() > 0, "the service serves on without an operator"

    confined.ensure()
    confined.wait_idle()
    wait_ready(site, standing.service)
    wait_ready(site, standing.tenant)
    assert standing.pods() == before
    assert spec_of(site, standing) == objects


def spec_of(site: Site, life: Life) -> dict[str, Obj]:
    """What is asked for of everything; statuses move by themselves."""
    shown = compare.snapshot(site, life.namespace)
    return {name: {k: v for k, v in obj.items() if k not in ("status", "managers")} for name, obj in shown.items()}
