"""The examples of the guide to the shadow API run as they stand and give the statuses that stand beside them."""

import os
import re
import subprocess
from pathlib import Path

from tests.integration.harness import Api

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "shadow-api.md"


def test_every_example_of_the_guide_gives_what_it_says(shadow: Api, api: Api) -> None:
    tenant_id = api.tenant()
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    expected = re.findall(r" # (\d{3})$", script, re.MULTILINE)
    told = {"SHIELDX_URL": shadow.url, "SHIELDX_KEY": api.issue(tenant_id, "read"), "SHIELDX_TENANT": tenant_id}
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
    assert len(expected) == 7
    assert "event: completed" in run.stdout
    assert '"judged":100' in run.stdout
    assert '"verdict":"PROMOTE"' in run.stdout
