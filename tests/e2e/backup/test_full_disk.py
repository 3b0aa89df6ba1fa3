"""A Job whose destination has no room left: told as that, and no half copy is listed."""

import pytest

from shieldx_operator.blocks.resources import POD
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.backup.view import RESOURCE as BACKUPS
from tests.e2e.backup import s3
from tests.e2e.backup.conftest import READY_WITHIN_S
from tests.e2e.platform.world import World, condition
from tests.e2e.waiting import until

pytestmark = pytest.mark.timeout(900)
ROWS = 2_400_000
"""Of 32 bytes that do not compress: more than the 64 MiB of a container's /dev/shm."""
IMAGE = "ghcr.io/shieldx/platform:0.1.0"
FULL: Obj = {"persistentVolumeClaim": {"claimName": "copies", "path": "small"}}
_POD_SECURITY: Obj = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
def small_folder(service: World) -> World:
    """`small` in the claim leads to the one file system of every pod that has a fixed and small size."""
    _run(service, "linker", "ln", "-sfn", "/dev/shm", "/copies/small")  # noqa: S108 - inside of pods
    return service


def test_a_volume_that_gets_full_is_told_and_no_half_copy_is_listed(small_folder: World) -> None:
    world = small_folder
    whole = {"persistentVolumeClaim": {"claimName": "copies"}}
    assert world.get(s3.copy(world, "with-room", whole))["status"]["phase"] == "Succeeded"
    bulk = f"CREATE TABLE credits.bulk AS SELECT sha256(n::text::bytea) FROM generate_series(1, {ROWS}) n"  # noqa: S608
    world.sql("credits", bulk)
    try:
        told = world.get(s3.copy(world, "without-room", FULL))
    finally:
        world.sql("credits", "DROP TABLE credits.bulk")
    assert told["status"]["phase"] == "Failed", told["status"]
    assert told["status"]["failure"]["reason"] == "NoSpace"
    assert "enlarge the volume" in told["status"]["failure"]["message"]
    stalled = condition(told, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "NoSpace")
    assert "backupID" not in told["status"]
    # not tried again: the next try would find the same disk
    assert told["status"]["tries"] == 1
    assert {b["metadata"]["name"] for b in world.all(BACKUPS) if "backupID" in b["status"]} >= {"with-room"}


def _run(world: World, name: str, *command: str) -> None:
    ref = world.ref(POD, name)
    world.apply(
        ref,
        spec={
            "restartPolicy": "Never",
            "securityContext": _POD_SECURITY,
            "containers": [
                {
                    "name": "run",
                    "image": IMAGE,
                    "command": list(command),
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "copies", "mountPath": "/copies"}],
                }
            ],
            "volumes": [{"name": "copies", "persistentVolumeClaim": {"claimName": "copies"}}],
        },
    )
    until(
        f"{ref} has done its work",
        lambda: (world.get(ref).get("status") or {}).get("phase") == "Succeeded",
        READY_WITHIN_S,
        1.0,
    )
