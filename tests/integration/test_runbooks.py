"""The commands of the ledger's runbooks do what they say, as they stand."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.devserver.binaries import postgres_bin
from shieldx_contract import CREDITS_DIFFER_EXIT_CODE, ENV_MASTER_KEYS_FILE
from tests.integration.harness import Api, Stack, running_stack

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that a test may break."""
    with running_stack(tmp_path_factory.mktemp("runbooks")) as made:
        yield made


def blocks(name: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", (RUNBOOKS / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(stack: Stack, script: str, folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={
            **stack.service.environ,
            "PATH": f"{Path(sys.executable).parent}:{postgres_bin()}:{os.environ['PATH']}",
            "CREDITS": stack.service.url,
            "HEALTH": stack.service.health_url,
            "KEY": stack.admin_key,
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_balance_discrepancy_is_found_bounded_and_put_right(own: Stack, tmp_path: Path) -> None:
    look, again, extent, mend = blocks("balance-discrepancy.md")
    tenant_id = own.api.tenant(100)
    names = {"TENANT": tenant_id, "MISSING": "5"}
    well = run(own, look + again + extent, tmp_path, **names)
    assert well.returncode == 0, well.stderr
    assert '"agrees":true' in well.stdout
    assert "1 tenants compared, 0 differ" in well.stdout
    assert json.loads((tmp_path / "reconcile.json").read_text())["differing"] == 0

    own.sql(
        "UPDATE credits.accounts SET balance = balance - 5, total_purchased = total_purchased - 5 WHERE tenant_id = $1",
        tenant_id,
    )
    wrong = run(own, look, tmp_path, **names)
    assert '"agrees":false' in wrong.stdout
    assert run(own, again, tmp_path, **names).returncode == CREDITS_DIFFER_EXIT_CODE
    assert run(own, extent, tmp_path, **names).returncode == 0
    told = json.loads((tmp_path / "reconcile.json").read_text())
    assert {d["what"] for d in told["differences"][tenant_id]} == {"account: balance", "account: total_purchased"}
    assert f"tenant {tenant_id}: balance 95" in (tmp_path / "verify.txt").read_text()
    assert run(own, mend, tmp_path, **names).returncode == 0
    assert own.api.balance(tenant_id).json()["balance"] == 100


def test_an_open_breaker_is_seen_explained_and_closed(own: Stack, tmp_path: Path) -> None:
    which, database, reset, after = blocks("breaker-open.md")
    with ExitStack() as exits:
        process = own.replica(exits)
        client = Api(process.url, own.admin_key)
        exits.callback(client.close)
        names = {"CREDITS": process.url, "HEALTH": process.health_url}
        assert 'dependency="postgresql"} 0.0' in run(own, which, tmp_path, **names).stdout
        tenant_id = client.tenant(10)
        uri = process.database_uri_file.read_text(encoding="utf-8")
        process.database_uri_file.write_text(uri.replace(str(own.postgres.port), "1"), encoding="utf-8")
        own.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'shieldx-runtime' AND pid <> pg_backend_pid()"
        )
        answers = [client.consume(tenant_id, 1).status_code for _ in range(12)]
        assert answers[-1] == 503
        seen = run(own, which, tmp_path, **names)
        assert re.search(r'dependency="postgresql"} [12]\.0', seen.stdout), seen.stdout
        assert "connection refused" in seen.stdout.lower()
        process.database_uri_file.write_text(uri, encoding="utf-8")
        assert "pg_is_in_recovery" in run(own, database, tmp_path, **names).stdout
        done = run(own, reset, tmp_path, **names)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count('"state":"closed"') == 2
        assert client.consume(tenant_id, 1).status_code == 200
        assert run(own, after.partition("python")[0], tmp_path, **names).returncode == 0
        assert "the books add up" in run(own, "python" + after.partition("python")[2], tmp_path).stdout


def test_the_master_key_is_rotated_and_the_old_one_taken_away(own: Stack, tmp_path: Path) -> None:
    tenants = [own.api.tenant(10) for _ in range(3)]
    for tenant_id in tenants:
        assert own.api.consume(tenant_id, 1, description=f"call of {tenant_id}").status_code == 200
    file = Path(own.service.environ[ENV_MASTER_KEYS_FILE])
    old = file.read_text(encoding="utf-8").split()[1]
    put, rewrap, take = blocks("rotate-master-key.md")
    assert run(own, put, tmp_path).returncode == 0
    done = run(own, rewrap, tmp_path)
    assert (done.returncode, "keys by master key: k2: 3" in done.stdout) == (0, True), done.stdout + done.stderr
    assert run(own, take, tmp_path).returncode == 0
    assert old not in file.read_text(encoding="utf-8")
    own.service.stop()
    own.service.start()
    for tenant_id in tenants:
        assert own.api.entries(tenant_id)[0]["description"] == f"call of {tenant_id}"
        assert own.api.consume(tenant_id, 1, description="new").status_code == 200
    assert {row["master_id"] for row in own.sql("SELECT master_id FROM credits.tenant_keys")} == {"k2"}

    file.write_text("k3 " + "A" * 43 + "\n", encoding="utf-8")
    lost = run(own, rewrap, tmp_path)
    assert lost.returncode == 1
    assert "keys are left under k2" in lost.stderr
