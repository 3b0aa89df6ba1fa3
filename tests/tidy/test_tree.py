"""The rules of the tree that no linter knows."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 70
SOURCES = ("operator", "runtime", "contract", "verdict", "client", "dev", "bench", "tests")


def python_files(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


@pytest.mark.parametrize("folder", ["operator", "runtime", "contract", "verdict", "client"])
def test_a_source_folder_is_no_package(folder: str) -> None:
    """`operator/__init__.py` would hide Python's own `operator` module."""
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("path", python_files(*SOURCES), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def test_each_target_of_the_readme_exists() -> None:
    made = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ": " in line}
    named = {
        word.strip("`.,")
        for line in (ROOT / "README.md").read_text().splitlines()
        for before, word in zip(line.split(), line.split()[1:], strict=False)
        if before.strip("`|") == "make"
    }
    assert named
    assert named <= made


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_no_file_is_both_tracked_and_ignored() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert listed.stdout == ""
