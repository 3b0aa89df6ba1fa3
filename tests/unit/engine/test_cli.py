from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from shieldx_operator.cli import app

EXAMPLE = Path(__file__).parents[3] / "examples" / "creditsservice.yaml"
RUN = CliRunner()


def test_a_plan_without_a_cluster_prints_what_would_be_built_and_no_secret() -> None:
    done = RUN.invoke(app, ["plan", str(EXAMPLE), "--offline"])
    assert done.exit_code == 0
    assert "# + create Service default/" in done.stdout
    assert "kind: NetworkPolicy" in done.stdout
    built = [d for d in yaml.safe_load_all(done.stdout) if d]
    secrets = [d for d in built if d["kind"] == "Secret"]
    assert len(secrets) >= 3
    assert {value for secret in secrets for value in secret["data"].values()} == {"***"}


def test_an_object_of_no_kind_of_ours_is_named_with_those_that_are(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n")
    done = RUN.invoke(app, ["plan", str(file), "--offline"])
    assert done.exit_code == 1
    assert "Pod (v1) is not a kind of this operator; known are " in done.stderr
    assert "CreditsService (platform.shieldx.io/v1alpha1)" in done.stderr


def test_what_only_comes_along_in_the_file_is_left_out_by_name(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: along}}\n---\n{EXAMPLE.read_text()}")
    done = RUN.invoke(app, ["plan", str(file), "--offline"])
    assert done.exit_code == 0
    assert "# + create Service default/" in done.stdout
    assert "# . left out ConfigMap along" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not YAML"), ("a: b", "every document must be an object with metadata.name")],
)
def test_a_file_that_cannot_be_read_as_objects_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    done = RUN.invoke(app, ["plan", str(file), "--offline"])
    assert done.exit_code == 1
    assert message in done.stderr


def test_a_file_that_is_not_there_is_named() -> None:
    done = RUN.invoke(app, ["plan", "no-such-file.yaml", "--offline"])
    assert done.exit_code == 1
    assert "no-such-file.yaml cannot be read: No such file or directory" in done.stderr


def test_a_wrong_setting_ends_the_start_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIELDX_WORKERS", "none")
    done = RUN.invoke(app, ["run"])
    assert done.exit_code == 1
    assert "cannot start: SHIELDX_WORKERS is 'none'" in done.stderr


def test_the_version_is_printed() -> None:
    assert RUN.invoke(app, ["version"]).stdout.strip().count(".") == 2
