"""The exit code of `credits reconcile`: the operator tells by it whether the books differ."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shieldx_contract import CREDITS_DIFFER_EXIT_CODE, ENV_DATABASE_URI_FILE, SHADOW_GIVE_UP_EXIT_CODE, backup
from shieldx_runtime.cli import app
from shieldx_runtime.credits import reconcile_commands


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "uri"
    file.write_text("postgresql://credits:x@127.0.0.1:1/credits", encoding="utf-8")
    return {ENV_DATABASE_URI_FILE: str(file)}


def test_a_crash_is_no_difference(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: Any) -> tuple[int, dict[str, Any]]:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(reconcile_commands, "_compare", crash)
    done = CliRunner().invoke(app, ["credits", "reconcile"], env=environ)
    assert done.exit_code == 3
    assert "not compared, by a fault of this command: ZeroDivisionError: a fault" in done.stderr


def test_a_database_that_is_away_is_no_difference(environ: dict[str, str]) -> None:
    assert CliRunner().invoke(app, ["credits", "reconcile"], env=environ).exit_code == 3


def test_a_tenant_that_there_is_not_is_no_difference(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> tuple[int, dict[str, Any]]:
        return 0, {}

    monkeypatch.setattr(reconcile_commands, "_compare", nobody)
    done = CliRunner().invoke(app, ["credits", "reconcile", "--tenant", "org-x"], env=environ)
    assert done.exit_code == 3
    assert done.stderr == "--tenant: there is no tenant 'org-x': check the id\n"
    assert CliRunner().invoke(app, ["credits", "reconcile"], env=environ).exit_code == 0


def test_nothing_else_ends_with_the_code_of_a_difference() -> None:
    """Neither Python (1), a wrong option (2), a shell (126 and more), a signal (128 and more) nor a command of ours."""
    others = {value for name, value in vars(backup).items() if name.startswith("EXIT_")}
    assert len(others) > 10
    assert CREDITS_DIFFER_EXIT_CODE not in others | {0, 1, 2, 3, SHADOW_GIVE_UP_EXIT_CODE}
    assert CREDITS_DIFFER_EXIT_CODE < 126
