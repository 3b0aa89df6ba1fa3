"""The audit stream and the cache's RDB: resumed, guarded against gaps, restored to a time, pruned."""

import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis as Client

from dev.devserver.redis import Redis
from shieldx_contract import backup as names
from shieldx_runtime.backup.clock import now
from shieldx_runtime.backup.errors import SettingError
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.prune import prune, prune_audit
from shieldx_runtime.backup.retention import Rules
from shieldx_runtime.backup.segments import Segments
from tests.integration.backup.world import World, redis_cli, with_cache


def segments_of(world: World) -> list[Path]:
    return sorted((world.folder / "copies" / "test.credits" / "audit").rglob("manifest.json"))


def new_uri(world: World) -> str:
    return world.postgres.uri(f"{world.database}_new")


def test_nothing_is_shipped_twice_and_nothing_where_there_is_nothing(folder_world: World) -> None:
    world = folder_world
    world.spend()
    assert world.run("ship-audit", "--once")["segments"] == 1
    again = world.run("ship-audit", "--once")
    assert (again["segments"], again["rows"]) == (0, 0)
    world.move("org-0", "consume", 1)
    assert world.run("ship-audit", "--once")["segments"] == 1
    assert len(segments_of(world)) == 2


def test_a_shipper_killed_while_it_works_is_followed_by_one_that_misses_nothing(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("run")
    with world.start("ship-audit", "--interval-s=0.1") as process:
        assert process.stderr
        while "audit log shipped" not in process.stderr.readline():
            assert process.poll() is None
        for amount in range(1, 30):
            world.move("org-1", "consume", amount)
            if amount == 20:
                process.send_signal(signal.SIGKILL)
    context = world.context()
    before = len(segments_of(world))
    lease = context.destination.get("test.credits/leases/audit.json")
    assert b'"holder": "' in lease[0]
    # its lease runs out by itself; here the holder is known to be dead
    context.destination.delete("test.credits/leases/audit.json")
    world.run("ship-audit", "--once")
    assert len(segments_of(world)) >= before
    world.run("restore")
    assert world.balances(new_uri(world)) == world.expected()
    assert world.faults(new_uri(world)) == []


def test_a_shipper_ends_in_order_with_everything_shipped(folder_world: World) -> None:
    world = folder_world
    world.spend()
    with world.start("ship-audit", "--interval-s=60") as process:
        assert process.stderr
        line = ""
        while "audit log shipped" not in line:
            line = process.stderr.readline()
        world.move("org-2", "consume", 3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert world.run("ship-audit", "--once")["segments"] == 0


def test_a_database_that_was_set_back_is_not_shipped(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.destroy_database()
    world.migrate()
    failed = world.run("ship-audit", "--once", code=names.EXIT_GAP)
    assert "it was set back or replaced" in failed["message"]
    assert len(segments_of(world)) == 1


def test_an_entry_that_was_changed_after_it_was_shipped_is_found(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.sql("UPDATE credits.ledger SET amount = 2 WHERE tenant_id = 'org-1' AND version = 4")
    world.move("org-1", "consume", 1)
    failed = world.run("ship-audit", "--once", code=names.EXIT_GAP)
    assert "entry 4 of 'org-1' is not the one that was shipped" in failed["message"]


def test_a_missing_segment_stops_a_replay(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("run")
    for _ in range(3):
        world.move("org-1", "consume", 1)
        world.run("ship-audit", "--once")
    segments_of(world)[-2].unlink()
    failed = world.run("restore", code=names.EXIT_GAP)
    assert "segment 2 of line 00000001 is missing" in failed["message"]


def test_a_flipped_byte_in_a_segment_stops_a_replay(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("run")
    world.move("org-1", "consume", 1)
    world.run("ship-audit", "--once")
    segment = next(segments_of(world)[-1].parent.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    failed = world.run("restore", code=names.EXIT_DAMAGED)
    assert "cut off or altered" in failed["message"]


def test_a_restore_to_a_time_leaves_out_what_came_later(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.move("org-1", "consume", 10)
    world.run("ship-audit", "--once")
    expected = world.expected()
    time.sleep(0.01)
    until = now().isoformat()
    world.move("org-1", "consume", 20)
    world.run("ship-audit", "--once")
    world.run("restore", f"--until={until}")
    assert world.balances(new_uri(world)) == expected
    assert world.faults(new_uri(world)) == []


def test_a_restore_in_place_that_fails_gives_the_database_back(folder_world: World) -> None:
    world = folder_world
    world.spend()
    made = world.run("run")
    # the books of this copy do not add up (a replay would mend them): somebody was at the table before the dump
    world.sql("UPDATE credits.accounts SET balance = balance + 1, total_purchased = total_purchased + 1")
    bad = world.run("run")
    world.sql("UPDATE credits.accounts SET balance = balance - 1, total_purchased = total_purchased - 1")
    arguments = ("--in-place", f"--confirm={world.service}", "--no-replay")
    failed = world.run("restore", bad["id"], *arguments, code=names.EXIT_NOT_PROVED)
    assert "do not add up" in failed["message"]
    assert world.balances() == world.expected()
    left = world.sql("SELECT datname FROM pg_database WHERE datname LIKE $1", f"{world.database}\\_%")
    assert left == []
    assert "do not add up" in world.run("drill", bad["id"], code=names.EXIT_NOT_PROVED)["message"]
    assert world.run("drill", made["id"])["rto_s"] > 0


def test_pruning_explains_itself_and_keeps_the_last_verified_copies(folder_world: World) -> None:
    world = folder_world
    world.spend()
    ids = [world.run("run")["id"] for _ in range(3)]
    later = now() + timedelta(days=40)
    context = world.context()
    with pytest.raises(SettingError, match="nothing is pruned until they agree"):
        prune(context, Stream.DATABASE, Rules(timedelta(days=30)), now=lambda: later)
    kept = world.run("prune")["decisions"]
    assert [d["prune"] for d in kept] == [False, False, False]
    # instead of waiting for a month: what is older than an instant goes, but never the last two
    listed = prune(context, Stream.DATABASE, Rules(timedelta(microseconds=1)), dry_run=True)
    assert [d.prune for d in listed] == [True, False, False]
    assert world.ids() == ids
    prune(context, Stream.DATABASE, Rules(timedelta(microseconds=1)))
    assert world.ids() == ids[1:]
    assert context.catalog.list(Stream.DATABASE).leftovers == ()


def test_the_audit_log_keeps_what_a_dump_needs(folder_world: World) -> None:
    world = folder_world
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.run("ship-audit", "--once")
    decisions = prune_audit(world.context(), timedelta(days=1))
    assert [d.prune for d in decisions] == [False]
    segments = Segments(world.context().catalog)
    assert segments.last("00000001") is not None


@pytest.mark.skipif(redis_cli() is None, reason="redis-cli has no wheel for this Python: install redis-tools")
def test_the_cache_is_copied_as_an_rdb_that_was_checked_and_that_a_redis_starts_from(
    folder_world: World, tmp_path: Path
) -> None:
    world = folder_world
    redis = Redis(tmp_path / "redis")
    redis.start()
    try:
        with_cache(world, redis.uri)
        with Client.from_url(redis.uri) as client:
            client.mset({f"key-{n}": n for n in range(100)})
        made = world.run("run", "--stream=cache")
        assert made["verified"]["verified_at"]
        assert world.ids("cache") == [made["id"]]
        assert world.ids("database") == []
        with_cache(world, redis.uri.replace(":@", ":x@").replace("redis://:", "redis://:not"))
        failed = world.run("run", "--stream=cache", code=names.EXIT_FAILED)
        assert failed["failed"] == "ToolFailed"
        assert world.ids("cache") == [made["id"]]
    finally:
        redis.stop()
    again = Redis(tmp_path / "again")
    rdb = tmp_path / "again" / "dump.rdb"
    fetched = world.run("fetch", "--stream=cache", f"--to={rdb}")
    assert (fetched["id"], rdb.stat().st_mode & 0o777) == (made["id"], 0o600)
    assert "File exists" in world.run("fetch", "--stream=cache", f"--to={rdb}", code=names.EXIT_SETTINGS)["message"]
    again.start()
    try:
        with Client.from_url(again.uri) as client:
            assert client.mget([f"key-{n}" for n in range(100)]) == [str(n).encode() for n in range(100)]
    finally:
        again.stop()
    rdb.unlink()
    sealed = next((world.folder / "copies").rglob("cache.rdb"))
    data = bytearray(sealed.read_bytes())
    data[-1] ^= 1
    sealed.write_bytes(data)
    world.run("fetch", "--stream=cache", f"--to={rdb}", code=names.EXIT_DAMAGED)
    assert [p.name for p in rdb.parent.iterdir() if "rdb" in p.name] == []
