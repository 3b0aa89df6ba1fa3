"""Runs the examples of a guide as they stand."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path


def run_guide(guide: Path, told: Mapping[str, str], *, calls: int) -> str:
    """What the examples print with this environment; each gives the status that stands beside it, and so many do."""
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    expected = re.findall(r" # (\d{3})$", script, re.MULTILINE)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.findall(r"^-> (\d{3})$", run.stdout, re.MULTILINE) == expected
    assert len(expected) == calls
    return run.stdout
