"""A disk that is full, wherever it may be: told with its remedy; nothing half written is listed, nothing is lost."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.devserver.postgres import Postgres
from shieldx_contract import backup as names
from tests.integration.backup.conftest import s3_environ
from tests.integration.backup.s3server import S3Server
from tests.integration.backup.test_faults import bulk
from tests.integration.backup.world import World, make_world
from tests.integration.harness import query

_DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"


@contextmanager
def disk_of(megabytes: int, place: Path) -> Iterator[Path]:
    """A file system of that size."""
    place.mkdir()
    options = f"size={megabytes}m,mode=0777"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets us mount no small file system to fill")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(1, tmp_path / "small") as place:
        yield place


def test_a_full_disk_is_named_and_nothing_is_listed(folder_world: World, small_disk: Path) -> None:
    world = folder_world
    bulk(world)
    full = {names.ENV_BACKUP_DESTINATION: small_disk.as_uri()}
    failed = world.run("run", code=names.EXIT_NO_SPACE, environ=full)
    assert "is full" in failed["message"]
    assert world.run("list", environ=full)["copies"] == []
    assert not any(small_disk.rglob("*dump*"))


def test_a_scratch_folder_that_is_too_small_is_told_before_the_database_is_put_aside(
    folder_world: World, small_disk: Path
) -> None:
    world = folder_world
    bulk(world)
    world.run("run")
    there = query(world.postgres.uri("postgres"), _DATABASES)
    in_place = ("restore", "--in-place", f"--confirm={world.service}")
    full = {names.ENV_BACKUP_SCRATCH_DIR: str(small_disk)}
    told = world.run(*in_place, code=names.EXIT_NO_SPACE, environ=full)
    assert "its disk has no more free" in told["message"]
    assert "raise scratchSize" in told["message"]
    told = world.run(*in_place, code=names.EXIT_NO_SPACE, environ={names.ENV_BACKUP_SCRATCH_BYTES: "100000"})
    assert "it is given no more" in told["message"]
    assert query(world.postgres.uri("postgres"), _DATABASES) == there
    told = world.run("drill", code=names.EXIT_NO_SPACE, environ={names.ENV_BACKUP_SCRATCH_DATABASE_BYTES: "100000"})
    assert "as a database" in told["message"]
    assert world.run("list")["copies"][0]["drilled"] is None


def test_a_full_volume_of_the_server_is_told_and_the_database_has_its_place_again(tmp_path: Path) -> None:
    """The log of changes is elsewhere: without room for that, PostgreSQL itself ends."""
    with disk_of(160, tmp_path / "volume") as volume:
        server = Postgres(volume / "postgres", durable=False)
        server.start()
        try:
            _wal_elsewhere(server, volume / "postgres" / "data", tmp_path)
            (tmp_path / "copies").mkdir()
            place = {names.ENV_BACKUP_DESTINATION: (tmp_path / "copies").as_uri()}
            world = make_world(tmp_path / "world", server, "credits", place)
            world.spend()
            for _ in range(4):
                bulk(world)
            world.run("run")
            free = os.statvfs(volume).f_bavail * os.statvfs(volume).f_frsize
            (volume / "of-somebody-else").write_bytes(bytes(free - (20 << 20)))
            in_place = ("restore", "--in-place", f"--confirm={world.service}")
            told = world.run(*in_place, code=names.EXIT_NO_SPACE)
            assert told["failed"] == "NoSpace"
            assert "enlarge it, or drop databases" in told["message"]
            assert [r["datname"] for r in query(server.uri("postgres"), _DATABASES)] == ["credits", "postgres"]
            assert world.balances() == world.expected()
            (volume / "of-somebody-else").unlink()
            world.run(*in_place)
            assert world.balances() == world.expected()
        finally:
            server.stop()


def _wal_elsewhere(server: Postgres, data: Path, folder: Path) -> None:
    server.stop()
    subprocess.run(["cp", "-a", str(data / "pg_wal"), str(folder / "wal")], check=True)
    folder.chmod(0o755)
    subprocess.run(["rm", "-r", str(data / "pg_wal")], check=True)
    (data / "pg_wal").symlink_to(folder / "wal")
    server.start()


def test_a_full_object_store_is_told_and_holds_no_copy(tmp_path: Path, postgres: Postgres) -> None:
    """SeaweedFS answers 500, as a server of any make may."""
    store = tmp_path / "store"
    store.mkdir()
    with disk_of(8, store / "data"):
        server = S3Server(store)
        server.start()
        try:
            server.client().create_bucket(Bucket="small")
            server.client().put_object(Bucket="small", Key="of-somebody-else", Body=os.urandom(6 << 20))
            world = make_world(tmp_path / "world", postgres, "full", s3_environ(server, tmp_path, "small/copies"))
            bulk(world)
            told = world.run("run", code=names.EXIT_DESTINATION)
            assert "whose disk is full" in told["message"]
            assert world.ids() == []
            assert world.context().destination.unfinished("test.credits/") == []
        finally:
            server.stop()
