"""Two changes that each add the next migration fit together as text and not as a schema."""

from pathlib import Path

import pytest

from shieldx_runtime.core.migrations import load

RUNTIME = Path(__file__).resolve().parents[2] / "runtime" / "shieldx_runtime"
FOLDERS = sorted(RUNTIME.glob("*/migrations"))


@pytest.mark.parametrize("folder", FOLDERS, ids=[f.parent.name for f in FOLDERS])
def test_migrations_are_numbered_one_after_the_other(folder: Path) -> None:
    assert load(folder)


def test_there_are_migrations_of_the_credits_service() -> None:
    assert RUNTIME / "credits" / "migrations" in FOLDERS
