"""A restore in place that gets kill -9: the old database can have its place back, or the restore is done again."""

import asyncio
import signal
import time
from dataclasses import replace

import pytest

from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.restore import How, restore_in_place
from tests.integration.backup.world import World

_REACHED_WITHIN_S = 60


def killed_at(world: World, stage: str) -> None:
    """A restore in place that gets kill -9 as soon as it tells of `stage`."""
    with world.start("restore", "--in-place", f"--confirm={world.service}") as process:
        assert process.stderr
        deadline_s = time.monotonic() + _REACHED_WITHIN_S
        while stage not in process.stderr.readline():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("stage", ["writers stopped", "audit log replayed"])
def test_a_rollback_gives_the_database_its_place_back(folder_world: World, stage: str) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.spend(tenants=6)
    rows = world.all_rows()
    killed_at(world, stage)
    told = world.run("restore", "--rollback")
    assert told["rolled_back"] is True
    assert world.all_rows() == rows
    assert world.faults() == []
    assert world.run("restore", "--rollback")["rolled_back"] is False


@pytest.mark.parametrize("stage", ["fetched and unsealed", "compared with the manifest"])
def test_done_again_it_ends_as_if_nothing_had_happened(folder_world: World, stage: str) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.spend(tenants=6)
    world.run("ship-audit", "--once")
    rows = world.all_rows()
    killed_at(world, stage)
    context = replace(world.context(), lease_ttl_s=2.0)
    copy = context.catalog.list(Stream.DATABASE).copies[-1]
    asyncio.run(restore_in_place(context, copy, How(), confirm=world.service))
    assert world.all_rows() == rows
    assert world.faults() == []
    left = world.sql("SELECT datname FROM pg_database WHERE datname LIKE $1", f"{world.database}\\_restoring\\_%")
    assert left == []
