"""The examples are objects of the types, explained, and say true things about defaults."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from shieldx_contract import API_GROUP
from shieldx_operator.api.crd import ALL, API_VERSION
from shieldx_operator.api.creditsservice import CreditsServiceSpec
from shieldx_operator.api.defaults import PRODUCTION, effective
from shieldx_operator.api.schema import default_at
from shieldx_operator.generate import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
SPECS = {resource.kind: resource.spec for resource in ALL}


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        found.update(leaves(value, here) if isinstance(value, dict) else {here: value})
    return found


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "examples" / name).read_text(encoding="utf-8"))
    return loaded


def custom_resources(path: Path) -> list[dict[str, Any]]:
    """The objects of our kinds in a file; beside them stands what they speak of, such as samples in a ConfigMap."""
    return [obj for obj in yaml.safe_load_all(path.read_text(encoding="utf-8")) if obj["kind"] != "ConfigMap"]


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_an_object_of_its_type(path: Path) -> None:
    objects = custom_resources(path)
    assert objects
    for obj in objects:
        assert obj["apiVersion"] == f"{API_GROUP}/{API_VERSION}"
        assert SPECS[obj["kind"]].from_json(obj["spec"]).to_json() == obj["spec"]


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_starts_by_saying_what_it_is_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# A")


def test_there_is_an_example_of_every_kind() -> None:
    kinds = {obj["kind"] for path in EXAMPLES for obj in custom_resources(path)}
    assert kinds == set(SPECS)


def test_what_the_production_example_calls_a_default_is_one() -> None:
    spec = load("creditsservice-production.yaml")["spec"]
    shown = {path: str(value) for path, value in leaves(spec).items() if default_at(PRODUCTION, path) is not None}
    lists = {"network.allowFrom", "network.metricsFrom"}
    assert {path: value for path, value in shown.items() if path not in lists} == {
        path: default_at(PRODUCTION, path) for path in shown if path not in lists
    }
    assert {"autoscaling.minReplicas", "settings.poolMaxSize", "resources.limits.memory"} <= shown.keys()


def test_the_first_example_is_small_and_runs_its_own_stores() -> None:
    got = effective(CreditsServiceSpec.from_json(load("creditsservice.yaml")["spec"]))
    assert got.profile == "Development"
    assert got.database.managed is not None
    assert got.cache.managed is not None
    assert got.network.allow_from[0].to_json() == {
        "podSelector": {"matchLabels": {"shieldx.io/credits-client": "true"}}
    }


def test_the_tenant_belongs_to_the_service_of_the_other_examples() -> None:
    assert load("tenant.yaml")["spec"]["serviceRef"]["name"] == load("creditsservice.yaml")["metadata"]["name"]
