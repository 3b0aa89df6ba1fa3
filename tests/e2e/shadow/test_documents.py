"""The commands of the guide and of the runbook, as they stand, in their order."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.shadow.conftest import ROOT, Ground, environment
from tests.e2e.shadow.samples import SPEC, ndjson

TIMEOUT_S = 400


@pytest.fixture
def read(ground: Ground, tmp_path: Path) -> Callable[..., str]:
    """Runs a document's commands with a `kubectl` that is at home in the test's namespace."""
    program = tmp_path / "kubectl"
    program.write_text(
        f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m dev.cluster kubectl -n {ground.namespace} "$@"\n'
    )
    program.chmod(0o755)

    def run(document: str, **variables: str) -> str:
        text = (ROOT / "docs" / document).read_text(encoding="utf-8")
        blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert blocks
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
            cwd=ROOT,
            env={**environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return run


async def test_every_command_of_the_guide_works(ground: Ground, read: Callable[..., str]) -> None:
    ground.start_operator()
    said = read("guides/shadow-evaluation.md")
    assert re.search(r"^rule-001\s+rule-001\s+PROMOTE\s+0\.875", said, re.MULTILINE)
    assert "minPrecision 0.9 is passed" in said
    assert '"truePositives":35' in said
    assert "\ncandidate\n" in said


async def test_every_command_of_the_runbook_works(ground: Ground, read: Callable[..., str]) -> None:
    await ground.config_map("samples", {"samples.ndjson": ndjson()})
    ground.start_operator()
    await ground.ask("late", **SPEC)
    await ground.answer("late")
    said = read("runbooks/evaluation-timeout.md", NAME="late")
    assert "Ready=True Evaluated: rule-001: PROMOTE" in said
    assert "1/1" in said
    assert "judged" in said, "the log of a worker"
    assert "condition met" in said
