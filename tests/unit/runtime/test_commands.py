"""The command `shieldx`: what the package installs, and what the documents say that it can do."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from shieldx_runtime.cli import app

DOCS = Path(__file__).resolve().parents[3] / "docs"
COMMAND = re.compile(r"(?:^|[(|;&]) *shieldx((?: [a-z][a-z-]*)+)", re.MULTILINE)
CODE = re.compile(r"```(?:bash)?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
INSTALLED = Path(sys.executable).parent / "shieldx"


def told() -> Iterator[tuple[str, list[str]]]:
    """The words after `shieldx` in each piece of code of each document."""
    for page in sorted(DOCS.rglob("*.md")):
        for match in CODE.finditer(page.read_text(encoding="utf-8")):
            for found in COMMAND.finditer(match[1] or match[2]):
                yield str(page.relative_to(DOCS)), found[1].split()


def resolved(words: list[str]) -> Any:
    """The command that the words lead to, its arguments aside; None where they lead nowhere."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not isinstance(command, TyperGroup):
            return command
        found = command.commands.get(word)
        if found is None:
            return None
        command = found
    return command


def test_every_command_that_a_document_names_is_there() -> None:
    named = list(told())
    assert len(named) >= 20
    assert resolved(["backup", "restores"]) is None
    assert [(page, " ".join(words)) for page, words in named if resolved(words) is None] == []


@pytest.mark.parametrize("command", ["verify-ledger", "verify-proof", "export-ledger", "public-key"])
def test_an_auditor_has_short_commands_and_the_former_ones_still_work(command: str) -> None:
    short, former = resolved([command]), resolved(["credits", command])
    assert short is not None
    assert former is not None
    assert (short.hidden, former.hidden) == (False, True)
    assert short.callback is not None
    assert [p.name for p in short.params] == [p.name for p in former.params]


@pytest.mark.parametrize(
    "start", [[str(INSTALLED)], [sys.executable, "-m", "shieldx_runtime"]], ids=["script", "module"]
)
def test_the_installed_script_and_the_module_are_the_same_program(start: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    done = subprocess.run(
        [*start, "verify-ledger", "export.ndjson", "--public-key", str(missing)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{missing}: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "redis", "boto3", "aiohttp"])
def test_the_command_line_does_not_wait_for_what_only_some_commands_need(package: str) -> None:
    """Their import takes longer than most commands: a migration is what the first pods of a service wait for."""
    looks = f"import sys, shieldx_runtime.cli; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", looks], timeout=60, check=False).returncode == 0
