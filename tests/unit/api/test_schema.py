"""What the CRDs hold, and what they must not."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import Field

from shieldx_operator.api import crd
from shieldx_operator.api.base import Model
from shieldx_operator.api.crd import ALL, CustomResource
from shieldx_operator.api.fields import VALIDATIONS
from shieldx_operator.api.rules import Rule, value_of
from shieldx_operator.api.schema import add_rules, structural, walk

every_kind = pytest.mark.parametrize("resource", ALL, ids=[resource.kind for resource in ALL])


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    if isinstance(schema, list):
        for value in schema:
            yield from nodes(value)


def fields(resource: CustomResource, part: str) -> dict[str, dict[str, Any]]:
    return {path: node for path, node, _ in walk(crd.schema(resource)) if path.startswith(f"{part}.")}


@every_kind
def test_no_default_stands_in_the_schema(resource: CustomResource) -> None:
    properties = {id(n["properties"]) for n in nodes(crd.schema(resource)) if "properties" in n}
    for node in nodes(crd.schema(resource)):
        assert id(node) in properties or "default" not in node


@every_kind
def test_a_schema_is_one_tree_without_references_unions_and_nulls(resource: CustomResource) -> None:
    for node in nodes(crd.schema(resource)):
        assert not node.keys() & {"$ref", "$defs", "title", "oneOf", "allOf", "nullable"}
        assert node.get("type") != "null"
        assert "anyOf" not in node or node["x-kubernetes-int-or-string"]


@every_kind
def test_every_field_is_described_in_a_sentence(resource: CustomResource) -> None:
    for part in ("spec", "status"):
        for path, node in fields(resource, part).items():
            assert node["description"].endswith("."), path
            assert len(node["description"]) > 4, path


@every_kind
def test_everything_that_a_user_writes_is_bounded(resource: CustomResource) -> None:
    for path, node in fields(resource, "spec").items():
        if "enum" in node or node.get("type") in {"object", "boolean"}:
            assert "additionalProperties" not in node or "maxProperties" in node, path
        elif node.get("type") in {"integer", "number"}:
            assert {"minimum", "maximum"} <= node.keys(), path
        else:
            assert node.keys() & {"maxLength", "maxItems"}, path


@every_kind
def test_every_default_is_told_where_its_field_is_described(resource: CustomResource) -> None:
    described = fields(resource, "spec")
    field, sentence = {
        "CreditsService": ("autoscaling.minReplicas", "Default: 3; in profile Development: 1."),
        "Tenant": ("key.overlapSeconds", "Default: 3600."),
        "ShadowService": ("autoscaling.minReplicas", "Default: 2; in profile Development: 1."),
        "ShadowEvaluation": ("deadlineSeconds", "Default: 3600."),
        "BackupPolicy": ("retention.auditDays", "Default: 365."),
        "Backup": ("stream", "Default: database."),
        "Restore": ("scratchSize", "Default: 10Gi."),
    }[resource.kind]
    assert described[f"spec.{field}"]["description"].endswith(sentence)


@every_kind
def test_every_rule_stands_on_a_field_and_tells_about_one_that_exists(resource: CustomResource) -> None:
    paths = {path for path, _, _ in walk(crd.schema(resource))} | {"", "metadata.name"}
    for rule in resource.rules:
        assert rule.at in paths
        assert (rule.at + rule.field).removeprefix(".") in paths


@every_kind
def test_every_message_fits_and_says_what_to_do(resource: CustomResource) -> None:
    for node in nodes(crd.schema(resource)):
        for rule in node.get(VALIDATIONS, ()):
            assert 20 < len(rule["message"]) <= 2048
            assert "\n" not in rule["message"]


@every_kind
def test_the_status_is_a_subresource_and_conditions_are_merged_by_type(resource: CustomResource) -> None:
    version = crd.definition(resource)["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}
    conditions = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["items"]["required"] == ["type", "status", "reason", "message", "lastTransitionTime"]


@every_kind
def test_every_column_shows_a_field_of_the_schema(resource: CustomResource) -> None:
    paths = {path.replace("[]", "") for path, _, _ in walk(crd.schema(resource))} | {"metadata.creationTimestamp"}
    for column in resource.columns:
        path = column.path.replace('[?(@.type=="Ready")]', "").removeprefix(".")
        assert path in paths


def test_a_rule_takes_an_unset_field_for_the_default_of_the_profile() -> None:
    assert value_of("autoscaling.minReplicas") == (
        "(has(self.autoscaling) && has(self.autoscaling.minReplicas) ? self.autoscaling.minReplicas : "
        "((has(self.profile) ? self.profile : 'Production') == 'Development' ? 1 : 3))"
    )


def test_a_rule_on_a_field_that_is_not_there_is_an_error() -> None:
    rule = Rule(at="spec.nothing", rule="true", message="", summary="")
    with pytest.raises(KeyError, match="nothing"):
        add_rules(crd.schema(crd.TENANT), [rule])


class _Union(Model):
    value: int | str = Field(description="Two types.")


class _Unbounded(Model):
    value: float = Field(gt=0, description="A bound that no CRD has.")


@pytest.mark.parametrize(("model", "problem"), [(_Union, "a union of 2 types"), (_Unbounded, "exclusiveMinimum")])
def test_a_type_that_no_crd_can_hold_is_an_error_that_names_the_field(model: type[Model], problem: str) -> None:
    with pytest.raises(ValueError, match=rf"{model.__name__}\.value: .*{problem}"):
        structural(model)
