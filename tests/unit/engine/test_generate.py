"""The generated files follow the types, and the check sees when they do not."""

from pathlib import Path

import pytest
import yaml

from shieldx_operator import generate
from shieldx_operator.api import crd

CRD = "crds/creditsservices.yaml"


def test_the_committed_files_are_what_the_types_give() -> None:
    assert generate.differences(generate.REPOSITORY) == []


def test_writing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    assert {CRD, "docs/reference/tenant.md", generate.CHART_RULES} <= set(generate.write(tmp_path))
    assert generate.write(tmp_path) == []
    assert generate.differences(tmp_path) == []


def test_the_chart_has_the_same_crds(tmp_path: Path) -> None:
    generate.write(tmp_path)
    copy = tmp_path / generate.CHART_CRDS / "creditsservices.yaml"
    assert copy.read_text(encoding="utf-8") == (tmp_path / CRD).read_text(encoding="utf-8")
    copy.unlink()
    assert [d.splitlines()[0] for d in generate.differences(tmp_path)] == [f"--- {generate.CHART_CRDS}/{copy.name}"]


def test_a_change_by_hand_fails_the_check_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.write(tmp_path)
    target = tmp_path / CRD
    target.write_text(target.read_text(encoding="utf-8").replace("maximum: 100", "maximum: 1000"), encoding="utf-8")
    assert generate.main(["--check", "--root", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "maximum: 1000" in shown.out
    assert "run `make generate`" in shown.err
    assert "maximum: 1000" in target.read_text(encoding="utf-8")


def test_a_crd_without_a_type_fails_the_check_and_goes(tmp_path: Path) -> None:
    generate.write(tmp_path)
    orphan = tmp_path / "crds/others.yaml"
    orphan.write_text("kind: CustomResourceDefinition\n", encoding="utf-8")
    assert generate.differences(tmp_path) == ["crds/others.yaml: no type stands behind this file; delete it\n"]
    assert generate.main(["--root", str(tmp_path)]) == 0
    assert not orphan.exists()


@pytest.mark.parametrize("resource", crd.ALL, ids=[resource.kind for resource in crd.ALL])
def test_the_text_of_a_crd_reads_back_as_the_crd(resource: crd.CustomResource) -> None:
    assert yaml.safe_load(generate.crd_yaml(resource)) == crd.definition(resource)


@pytest.mark.parametrize("resource", crd.ALL, ids=[resource.kind for resource in crd.ALL])
def test_a_crd_leaves_room_for_what_kubectl_apply_notes_on_it(resource: crd.CustomResource) -> None:
    assert len(generate.crd_yaml(resource).encode()) < 200_000
