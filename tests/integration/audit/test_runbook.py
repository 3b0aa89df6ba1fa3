"""The commands of the runbook do what it says, word for word."""

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from shieldx_contract import ENV_SEAL_INTERVAL_S
from tests.integration.audit.test_over_http import proof_of
from tests.integration.harness import Api, Stack

RUNBOOK = Path(__file__).resolve().parents[3] / "docs" / "runbooks" / "verify-ledger.md"
BLOCKS = re.findall(r"^```\n(.*?)^```$", RUNBOOK.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_commands_of_the_runbook_check_a_ledger(stack: Stack, api: Api, tmp_path: Path) -> None:
    assert len(BLOCKS) == 4
    with ExitStack() as exits:
        process = stack.replica(exits, **{ENV_SEAL_INTERVAL_S: "0.2"})
        transaction_id = api.purchase(api.tenant(), 5, reference="invoice-1").json()["transaction_id"]
        proof_of(api, transaction_id)
        environ = {
            **process.environ,
            "CREDITS": process.url,
            "KEY": stack.admin_key,
            "TRANSACTION": transaction_id,
            "PATH": f"{Path(sys.executable).parent}:{process.environ['PATH']}",
        }
        for block in BLOCKS:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=tmp_path,
                env=environ,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{done.stderr}"
        said = (tmp_path / "audit-public.pem").read_text(encoding="utf-8")
    assert said.startswith("-----BEGIN PUBLIC KEY-----")
    assert "is the beginning of that of" in done.stdout
