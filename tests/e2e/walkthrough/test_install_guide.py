"""The guide's commands, as they stand, in their order. It ends without an operator, so it runs after all others."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import platform
from dev.tools.__main__ import helm

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "guides" / "install.md"
TIMEOUT_S = 600


@pytest.fixture
def tools(tmp_path: Path, installed: str) -> Iterator[dict[str, str]]:
    """An environment in which `kubectl` and `helm` are the checkout's own, and the operator is there afterwards."""
    # the program itself: `dev.tools helm` would find this one on the PATH and call it for ever
    for name, command in (("kubectl", "python3 -m dev.cluster kubectl"), ("helm", str(helm()))):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    yield {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBECONFIG": installed}
    platform.install_chart()


def test_every_command_of_the_install_guide_works(tools: dict[str, str]) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-x", "-c", "\n".join(blocks)],
        cwd=ROOT,
        env=tools,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"creditsservice\S*/credits\s+True\s+Available", done.stdout)
    assert re.search(r"tenant\S*/org-123\s+True\s+Registered", done.stdout)
    assert re.search(r"persistentvolumeclaim/credits\S*\s+Bound", done.stdout), "the data must survive the object"
