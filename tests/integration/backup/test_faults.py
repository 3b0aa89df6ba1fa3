"""Each fault and the state that it ends in: nothing half written is ever listed, nothing that is left grows."""

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shieldx_contract import SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY
from shieldx_contract import backup as names
from shieldx_runtime.backup import run as runs
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.destination import Destination
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.s3 import S3, S3Settings
from tests.integration.backup.conftest import MakeWorld
from tests.integration.backup.proxy import Faults, proxy
from tests.integration.backup.s3server import S3Server
from tests.integration.backup.world import World

BULK_ROWS = 60_000
STAGES = ("backup begins", "unfinished", "stored", "backup written")


def copies(world: World) -> Path:
    return world.folder / "copies" / "test.credits"


def objects(world: World) -> list[Path]:
    return [p for p in (world.folder / "copies").rglob("*") if p.is_file() and p.name != ".guard"]


def dump_file(world: World) -> Path:
    return next((copies(world) / "database").rglob("database.dump"))


def bulk(world: World) -> None:
    """Something that takes a moment to dump, and does not compress."""
    world.sql("CREATE TABLE IF NOT EXISTS bulk (data bytea)")
    world.sql(
        "INSERT INTO bulk SELECT sha256(n::text::bytea) || sha256((n + 1)::text::bytea) "
        "FROM generate_series(1, $1::bigint) n",
        BULK_ROWS,
    )


def reached(world: World, stage: str, logged: str) -> bool:
    match stage:
        case "unfinished":
            return any((world.folder / "copies" / ".incoming").glob("*database.dump*"))
        case "stored":
            return any((copies(world) / "database").rglob("database.dump"))
        case _:
            return stage in logged


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_any_stage_leaves_no_half_backup_and_the_next_cleans_up(
    folder_world: World, stage: str
) -> None:
    world = folder_world
    world.spend()
    bulk(world)
    with world.start("run") as process:
        assert process.stderr
        deadline = time.monotonic() + 60
        logged = ""
        while not reached(world, stage, logged):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            if stage in ("backup begins", "backup written"):
                logged += process.stderr.readline()
            else:
                time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    listed = world.context().catalog.list(Stream.DATABASE)
    # the manifest is there, or it is not: then there is no copy
    assert len(listed.copies) == (1 if stage == "backup written" else 0)
    assert not any(copy.verified for copy in listed.copies)
    assert listed.broken == {}
    made = runs.run(_impatient(world), Stream.DATABASE)
    after = world.context().catalog.list(Stream.DATABASE)
    assert made["verified"]
    assert after.leftovers == ()
    assert world.context().destination.unfinished("test.credits/database/") == []
    assert after.copies[-1].manifest.backup_id == made["id"]


def _impatient(world: World, ttl_s: float = 2.0) -> Context:
    """With a lease whose holder is found dead sooner."""
    return replace(world.context(), lease_ttl_s=ttl_s)


def test_a_flipped_byte_is_found(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("run")
    data = bytearray(dump_file(world).read_bytes())
    data[len(data) // 2] ^= 1
    dump_file(world).write_bytes(data)
    failed = world.run("verify", code=names.EXIT_DAMAGED)
    assert "cut off or altered" in failed["message"]
    world.run("restore", code=names.EXIT_DAMAGED)
    assert world.balances() == world.expected()


def test_a_truncated_object_is_no_backup_any_more(folder_world: World) -> None:
    world = folder_world
    world.spend()
    made = world.run("run")
    data = dump_file(world).read_bytes()
    dump_file(world).write_bytes(data[:-100])
    listed = world.run("list")
    assert listed["copies"] == []
    assert "bytes long, its manifest says" in listed["broken"][made["id"]]


def test_two_exchanged_copies_are_found(folder_world: World) -> None:
    world = folder_world
    world.spend()
    one, other = world.run("run")["id"], world.run("run")["id"]
    folder = copies(world) / "database"
    shutil.copytree(folder / other, folder / "x")
    shutil.rmtree(folder / one)
    (folder / "x").rename(folder / one)
    listed = world.run("list")
    assert [copy["id"] for copy in listed["copies"]] == [other]
    assert "that of another copy" in listed["broken"][one]


def test_a_wrong_key_is_named_and_a_rotated_one_still_opens(folder_world: World) -> None:
    world = folder_world
    world.spend()
    old = world.run("run")["id"]
    world.add_key("k2")
    new = world.run("run")
    assert new["key_id"] == "k2"
    assert world.run("verify", old)["verified_at"]
    kept = (world.folder / "keys" / "k1").read_text()
    (world.folder / "keys" / "k1").unlink()
    missing = world.run("verify", old, code=names.EXIT_WRONG_KEY)
    assert "key 'k1' sealed this copy" in missing["message"]
    # what it was proved under the new key does not hide the other copies, nor the other way round
    assert world.ids() == [new["id"]]
    world.add_key("k1")
    wrong = world.run("verify", old, code=names.EXIT_DAMAGED)
    assert "its MAC under key 'k1' is another one" in wrong["message"]
    (world.folder / "keys" / "k1").write_text(kept)
    assert world.ids() == [old, new["id"]]


def test_a_copy_whose_proof_was_signed_by_a_key_that_is_gone_counts_as_not_proved(folder_world: World) -> None:
    world = folder_world
    world.spend()
    old = world.run("run")["id"]
    world.add_key("k2")
    world.run("verify", old)
    (world.folder / "keys" / "k2").unlink()
    world.environ[names.ENV_BACKUP_KEY_ID] = "k1"
    listed = world.run("list")["copies"]
    assert [(copy["id"], copy["verified"]) for copy in listed] == [(old, None)]


def test_where_no_copy_opens_the_missing_key_is_named_and_not_a_missing_copy(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("run")
    (world.folder / "keys" / "k1").unlink()
    world.add_key("k2")
    for command in ("restore", "verify", "drill"):
        told = world.run(command, code=names.EXIT_WRONG_KEY)
        assert told["failed"] == "WrongKey"
        assert "key 'k1' sealed this copy" in told["message"]


def test_a_rollback_with_nothing_to_undo_says_so_and_is_no_failure(folder_world: World) -> None:
    world = folder_world
    told = world.run("restore", "--rollback")
    assert told["rolled_back"] is False
    assert "there is nothing to roll back" in told["message"]
    world.destroy_database()
    assert world.run("restore", "--rollback", code=names.EXIT_NOT_FOUND)["failed"] == "NotFound"


def test_a_dump_that_fails_is_no_backup(folder_world: World) -> None:
    world = folder_world
    world.spend()
    tools = world.folder / "bin"
    tools.mkdir()
    real = Path(world.environ[names.ENV_BACKUP_POSTGRES_BIN])
    (tools / "pg_restore").symlink_to(real / "pg_restore")
    # it writes a good part of a dump and then fails
    script = f'#!/bin/sh\ncase "$1" in --version) exec {real}/pg_dump --version;; esac\n{real}/pg_dump "$@"'
    (tools / "pg_dump").write_text(script + " | head -c 20000\necho 'server closed the connection' >&2\nexit 1\n")
    (tools / "pg_dump").chmod(0o755)
    failed = world.run("run", code=names.EXIT_FAILED, environ={names.ENV_BACKUP_POSTGRES_BIN: str(tools)})
    assert failed["failed"] == "ToolFailed"
    assert "server closed the connection" in failed["message"]
    assert world.ids() == []
    assert [p.name for p in objects(world)] == ["database.json"]  # the lease, free


def test_a_run_that_takes_too_long_ends_with_its_deadline(folder_world: World) -> None:
    world = folder_world
    tools = world.folder / "bin"
    tools.mkdir()
    real = Path(world.environ[names.ENV_BACKUP_POSTGRES_BIN])
    (tools / "pg_restore").symlink_to(real / "pg_restore")
    script = f'#!/bin/sh\ncase "$1" in --version) exec {real}/pg_dump --version;; esac\nexec sleep 60\n'
    (tools / "pg_dump").write_text(script)
    (tools / "pg_dump").chmod(0o755)
    environ = {names.ENV_BACKUP_POSTGRES_BIN: str(tools), names.ENV_BACKUP_DEADLINE_S: "3"}
    began_s = time.monotonic()
    failed = world.run("run", code=names.EXIT_DEADLINE, environ=environ)
    assert time.monotonic() - began_s < 30
    assert "not finished within 3 s" in failed["message"]
    assert world.ids() == []


def test_a_volume_that_is_not_mounted_is_named(folder_world: World) -> None:
    gone = {names.ENV_BACKUP_DESTINATION: (folder_world.folder / "nowhere").as_uri()}
    assert "mount the volume" in folder_world.run("run", code=names.EXIT_DESTINATION, environ=gone)["message"]


# ---------------------------------------------------------------- S3


def through(world: World, server: S3Server, endpoint: str) -> Destination:
    _, _, place = world.environ[names.ENV_BACKUP_DESTINATION].partition("s3://")
    bucket, _, prefix = place.partition("/")
    return S3(
        S3Settings(
            bucket,
            prefix,
            endpoint,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            part_bytes=5 << 20,
            read_timeout_s=5,
        )
    )


@pytest.mark.parametrize(
    "faults",
    [Faults(errors=3), Faults(cuts=3, cut_after_bytes=100_000), Faults(delay_s=0.03)],
    ids=["500", "cut off", "slow"],
)
def test_a_bad_day_of_s3_is_ridden_out(s3_world: World, s3: S3Server, faults: Faults) -> None:
    world = s3_world
    bulk(world)
    with proxy(s3.port, faults) as endpoint:
        context = replace(world.context(), destination=through(world, s3, endpoint))
        made = runs.run(context, Stream.DATABASE)
        assert faults.seen
    assert faults.errors == faults.cuts == 0
    assert world.ids() == [made["id"]]
    assert world.run("verify")["id"] == made["id"]


def test_a_dead_s3_is_named_and_leaves_nothing(s3_world: World, s3: S3Server) -> None:
    world = s3_world
    with proxy(s3.port, Faults(errors=10_000)) as endpoint:
        failed = world.run("run", code=names.EXIT_DESTINATION, environ={names.ENV_BACKUP_S3_ENDPOINT: endpoint})
    assert failed["failed"] == "DestinationUnavailable"
    assert world.ids() == []


def test_half_an_upload_appears_nowhere_and_is_thrown_away(s3_world: World, s3: S3Server) -> None:
    world = s3_world
    destination = through(world, s3, s3.endpoint)

    def half() -> Iterator[bytes]:
        yield bytes(6 << 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        destination.put_stream("test.credits/database/x/database.dump", half())
    assert list(destination.find("test.credits/database/")) == []
    assert destination.unfinished("test.credits/database/") == []
    # and what a kill -9 leaves, the next run throws away
    _, _, place = world.environ[names.ENV_BACKUP_DESTINATION].partition("s3://")
    bucket, _, prefix = place.partition("/")
    key = f"{prefix}/test.credits/database/y/database.dump"
    s3.client().create_multipart_upload(Bucket=bucket, Key=key)
    assert len(destination.unfinished("test.credits/database/")) == 1
    world.run("run")
    assert destination.unfinished("test.credits/database/") == []


def test_credentials_without_permission_and_wrong_ones_are_named(s3_world: World, s3: S3Server) -> None:
    world = s3_world
    folder = Path(world.environ[names.ENV_BACKUP_S3_CREDENTIALS_DIR])
    (folder / SECRET_S3_ACCESS_KEY_ID).write_text(s3.reader[0])
    (folder / SECRET_S3_SECRET_ACCESS_KEY).write_text(s3.reader[1])
    failed = world.run("run", code=names.EXIT_REFUSED)
    assert "AccessDenied" in failed["message"]
    assert "grant GetObject, PutObject" in failed["message"]
    (folder / SECRET_S3_SECRET_ACCESS_KEY).write_text("wrong")
    failed = world.run("run", code=names.EXIT_REFUSED)
    assert "check secret-access-key" in failed["message"]
    assert "wrong" not in failed["message"].replace("wrong one", "")


def test_a_bucket_that_does_not_exist_is_named(s3_world: World) -> None:
    gone = {names.ENV_BACKUP_DESTINATION: "s3://nowhere-at-all/copies"}
    failed = s3_world.run("run", code=names.EXIT_REFUSED, environ=gone)
    assert "create the bucket" in failed["message"]


def test_segments_of_the_audit_log_cannot_be_deleted_where_the_bucket_locks(make: MakeWorld, s3: S3Server) -> None:
    world = make("locked")
    world.spend()
    world.run("ship-audit", "--once")
    _, _, prefix = world.environ[names.ENV_BACKUP_DESTINATION].partition("locked/")
    found = s3.client().list_object_versions(Bucket="locked", Prefix=f"{prefix}/test.credits/audit/")["Versions"]
    locked = [v for v in found if v["Key"].endswith((".segment", "manifest.json"))]
    assert len(locked) == 2
    for version in locked:
        with pytest.raises(Exception, match="AccessDenied"):
            s3.client().delete_object(Bucket="locked", Key=version["Key"], VersionId=version["VersionId"])
