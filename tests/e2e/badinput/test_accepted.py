"""What is right is taken: the good objects of the table, the examples, and changes that an owner may make."""

import secrets
from pathlib import Path

import pytest
import yaml

from tests.e2e.badinput.conftest import REPOSITORY, ApiServer, merged

GOOD = yaml.safe_load((Path(__file__).parent / "good.yaml").read_text(encoding="utf-8"))
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_the_objects_that_the_table_makes_wrong_are_right_themselves(api: ApiServer, kind: str) -> None:
    response = api.create(GOOD[kind])
    assert response.ok, response.json()["message"]


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_accepted_as_it_stands(api: ApiServer, path: Path) -> None:
    for obj in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if obj["kind"] == "ConfigMap":
            continue  # samples that an evaluation speaks of
        response = api.create(obj)
        assert response.ok, response.json()["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"database": {"managed": {"storage": {"size": "11Gi"}}}},
        {"database": {"managed": {"deletionPolicy": "Delete"}}},
        {"cache": {"managed": None, "external": {"secretRef": {"name": "redis"}}}},
        {"version": "0.2.0-rc.1"},
        {"resources": {"requests": {"cpu": 1}, "limits": {"cpu": 2}}},
        {"autoscaling": {"minReplicas": 5, "maxReplicas": 5}, "disruption": {"minAvailable": 4}},
        {
            "profile": "Development",
            "database": {"managed": {"storage": {"size": "10Gi"}}},
            "cache": {"managed": {"storage": {"size": "2Gi"}}},
        },
    ],
    ids="-".join,
)
def test_a_change_that_an_owner_may_make_is_accepted(api: ApiServer, change: dict[str, object]) -> None:
    obj = merged(GOOD["CreditsService"], {"metadata": {"name": f"change-{secrets.token_hex(4)}"}})
    assert api.create(obj, dry_run=False).ok
    response = api.patch(obj, {"spec": change})
    assert response.ok, response.json()["message"]
    assert api.delete(obj).ok


def test_the_api_server_adds_nothing_to_an_object_that_a_gitops_tool_would_see_as_a_difference(api: ApiServer) -> None:
    stored = api.create(GOOD["CreditsService"]).json()
    assert stored["spec"] == GOOD["CreditsService"]["spec"]


def test_a_server_side_apply_refuses_an_unknown_field_unasked(api: ApiServer) -> None:
    response = api.apply(merged(GOOD["CreditsService"], {"spec": {"replicas": 3}}))
    assert not response.ok
    assert ".spec.replicas: field not declared in schema" in response.json()["message"]
