"""The reference pages tell every field, its defaults and what is refused."""

import pytest

from shieldx_operator.api import crd
from shieldx_operator.api.reference import page
from shieldx_operator.api.schema import structural, walk

every_kind = pytest.mark.parametrize("resource", crd.ALL, ids=[resource.kind for resource in crd.ALL])


def row(text: str, field: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| `{field}` |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@every_kind
def test_every_field_of_spec_and_status_has_a_row(resource: crd.CustomResource) -> None:
    text = page(resource)
    for model in (resource.spec, resource.status):
        for path, _, _ in walk(structural(model)):
            assert row(text, path)


@every_kind
def test_every_rule_and_every_column_is_told(resource: crd.CustomResource) -> None:
    text = page(resource)
    for rule in resource.rules:
        assert f"- {rule.summary}\n" in text
    for column in resource.columns:
        assert f"| {column.name} |" in text


@every_kind
def test_every_table_has_as_many_cells_in_each_row(resource: crd.CustomResource) -> None:
    for block in page(resource).split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, lines[:1]


def test_a_row_shows_type_bounds_and_the_defaults_of_both_profiles() -> None:
    assert row(page(crd.CREDITS_SERVICE), "autoscaling.minReplicas")[:4] == [
        "`autoscaling.minReplicas`",
        "integer 1 to 100",
        "`3`",
        "`1`",
    ]


def test_a_required_field_says_so() -> None:
    assert row(page(crd.TENANT), "serviceRef.name")[-1].startswith("**Required.** ")
