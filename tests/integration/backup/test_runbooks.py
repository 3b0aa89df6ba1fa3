"""The commands of the runbooks, run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

from dev.devserver.binaries import postgres_bin
from shieldx_runtime.backup.clock import now
from tests.integration.backup.world import World

RUNBOOKS = Path(__file__).resolve().parents[3] / "docs" / "runbooks"


def blocks(name: str) -> list[str]:
    found = re.findall(
        r"^ *```bash\n(.*?)^ *```", (RUNBOOKS / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


def run(world: World, script: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{postgres_bin()}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **world.environ, "PATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_everything_is_restored_by_the_runbook(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.spend(tenants=6)
    world.run("ship-audit", "--once")
    world.destroy_database()
    look, restore, verify, undo = blocks("restore-everything.md")
    done = run(world, look + restore + verify)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the books add up" in done.stdout
    assert world.balances() == world.expected()
    undone = run(world, undo)
    assert undone.returncode == 0, undone.stderr
    assert "there is nothing to roll back" in " ".join(undone.stdout.split())


def test_one_tenant_is_looked_at_by_the_runbook(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("run")
    moment = now().isoformat().replace("+00:00", "Z")
    world.move("org-1", "consume", 100)
    done = run(world, "".join(blocks("restore-one-tenant.md")), TENANT="org-1", MOMENT=moment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +994 \| +0 \| +4$", done.stdout, re.MULTILINE)
