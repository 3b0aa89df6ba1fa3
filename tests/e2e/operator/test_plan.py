"""`python -m shieldx_operator plan`: what applying a file would give, told by exit code, and nothing is changed."""

import sys
from pathlib import Path

import pytest
import yaml

from shieldx_contract import API_GROUP
from shieldx_operator.kinds import kinds
from shieldx_operator.settings import OperatorSettings
from tests.e2e.operator import compare
from tests.e2e.operator.life import SERVICE, TENANT, Life, service_spec, tenant_spec
from tests.e2e.operator.release import SYSTEM, Release
from tests.e2e.operator.site import PREFIX, ROOT, Done, Site, run

KNOWN = {kind.resource.kind for kind in kinds(OperatorSettings.from_environment({}))}


def kinds_in(path: Path) -> set[str]:
    return {document["kind"] for document in yaml.safe_load_all(path.read_text()) if document}


EMPTY = f"{PREFIX}empty"
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if kinds_in(path) & KNOWN]
SAME, REFUSED, DIFFERENT = 0, 1, 2


def plan(site: Site, file: Path | str, namespace: str) -> Done:
    """The command as a person runs it, with the settings of the operator in the cluster."""
    name, text = (str(file), "") if isinstance(file, Path) else ("-", file)
    command = (sys.executable, "-m", "shieldx_operator", "plan", name, "--namespace", namespace)
    extra = {"POD_NAMESPACE": SYSTEM}
    return run(*command, "--kubeconfig", site.kubeconfig, stdin=text, extra=extra, check=False)


def documents(*, namespace: str, **changes: object) -> str:
    objects = (("CreditsService", SERVICE, service_spec(**changes)), ("Tenant", TENANT, tenant_spec("1")))
    return yaml.safe_dump_all(
        {
            "apiVersion": f"{API_GROUP}/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        for kind, name, spec in objects
    )


def test_what_is_there_already_does_not_differ(site: Site, release: Release, standing: Life) -> None:
    release.wait_idle()
    done = plan(site, documents(namespace=standing.namespace), standing.namespace)
    assert done.code == SAME, done.text[-3000:]
    summary = done.out.partition("# --- summary")[2]
    assert f"# = none Deployment {standing.namespace}/{SERVICE}" in summary
    assert [line for line in summary.splitlines() if line.strip() and not line.startswith("# = none")] == []


def test_a_changed_number_is_shown_as_a_difference_of_the_objects_it_reaches(
    site: Site, release: Release, standing: Life
) -> None:
    release.wait_idle()
    before = compare.versions(site, standing.namespace)
    changed = documents(namespace=standing.namespace, autoscaling={"minReplicas": 2, "maxReplicas": 5})
    done = plan(site, changed, standing.namespace)
    assert done.code == DIFFERENT, done.text[-3000:]
    assert "-  maxReplicas: 2" in done.out
    assert "+  maxReplicas: 5" in done.out
    assert f"# ~ change HorizontalPodAutoscaler {standing.namespace}/{SERVICE}" in done.out
    after = compare.versions(site, standing.namespace)
    scaled = f"HorizontalPodAutoscaler {SERVICE}"  # whose status the cluster writes as it measures
    assert {**after, scaled: ""} == {**before, scaled: ""}
    assert [value for value in standing.secrets if value in done.text] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_shows_its_objects_and_makes_none(site: Site, release: Release, example: Path) -> None:
    assert release.leader()
    site.namespace(EMPTY)
    done = plan(site, example, EMPTY)
    assert done.code in (SAME, DIFFERENT), done.text[-3000:]
    shown = [obj for obj in yaml.safe_load_all(done.out.partition("# --- difference")[0]) if obj]
    created = [line for line in done.out.splitlines() if line.startswith("# + create ")]
    assert len(created) == len(shown)
    assert (done.code == DIFFERENT) == bool(created)
    if "CreditsService" in kinds_in(example):
        assert {"ServiceAccount", "ConfigMap", "Secret", "Service", "NetworkPolicy"} <= {o["kind"] for o in shown}
    assert compare.everything(site, EMPTY) == []


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("kind: [", "not YAML"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}}", "not a kind of this operator"),
        ("{apiVersion: platform.shieldx.io/v1alpha1, kind: CreditsService, metadata: {name: a}, spec: {}}", "database"),
    ],
    ids=["no-yaml", "foreign-kind", "refused-by-the-schema"],
)
def test_a_file_that_cannot_be_applied_is_an_error(site: Site, release: Release, file: str, says: str) -> None:
    assert release.leader()
    site.namespace(EMPTY)
    done = plan(site, file, EMPTY)
    assert done.code == REFUSED
    assert says in done.err
