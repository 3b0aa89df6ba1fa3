"""The examples of the guide run as they stand and give the statuses that stand beside them."""

import os
import re
import subprocess
from pathlib import Path

from tests.integration.harness import Stack

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "credits-api.md"


def test_every_example_of_the_guide_gives_what_it_says(stack: Stack) -> None:
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    expected = re.findall(r" # (\d{3})$", script, re.MULTILINE)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "SHIELDX_URL": stack.api.url, "SHIELDX_ADMIN_KEY": stack.admin_key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.findall(r"^-> (\d{3})$", run.stdout, re.MULTILINE) == expected
    assert len(expected) == 40
