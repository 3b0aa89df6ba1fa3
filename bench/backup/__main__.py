"""`make bench-backup`: a ledger of some hundred megabytes, dumped and restored by the pipeline and by plain PostgreSQL.

Both restore the same database in the same run, in turns, with as many connections; the pipeline's figure includes
fetching, decrypting and unpacking. The ledger's rows are made by INSERT, for speed, so that its books do not add up:
the pipeline compares every row count with the manifest, and nobody asks the ledger. What ships is measured before that.
PostgreSQL (without fsync), the S3 server, the service whose calls run beside a dump, and their load are on one machine.

The audit RPO is what a client of the service really loses when service and database get kill -9 and are gone, at seeded
moments of the shipper's interval; rounds run some at once, since most of their time is waiting.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.backup import latency
from dev.devserver.binaries import postgres_bin
from dev.devserver.postgres import Postgres
from shieldx_runtime.backup import run as runs
from shieldx_runtime.backup.catalog import Copy
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.postgres import Address
from shieldx_runtime.backup.restore import How, restore_new
from shieldx_runtime.backup.ship import INTERVAL_S, ship_for_ever
from tests.integration.backup import loss
from tests.integration.backup.conftest import s3_environ
from tests.integration.backup.s3server import S3Server
from tests.integration.backup.world import World, make_world
from tests.integration.harness import query

RESULTS = Path(__file__).resolve().parents[1] / "results" / "backup.json"
JOBS = 2
TENANTS = 50
BATCH = 200_000
KILLS = 20
AT_ONCE = 4
_TIMEOUT_S = 1800


def fill(world: World, megabytes: int) -> None:
    """Makes entries of the ledger until the database has that size."""
    statement = (
        "INSERT INTO credits.ledger (transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key,"
        " key_id, description, reference, spent_after) SELECT gen_random_uuid(), 'bulk-' || n % 200, $1::int + n,"
        " 'consume', 1, 1000000000 - n, gen_random_uuid(), 'f000000000000000', 'API call charge ' || n, 'req-' || n, n"
        " FROM generate_series(1, $2::int) n"
    )
    begin = 0
    while query(world.uri, "SELECT pg_database_size(current_database()) AS size")[0]["size"] < megabytes << 20:
        query(world.uri, statement, begin, BATCH)
        begin += BATCH


def plain(world: World, command: list[str]) -> float:
    """The seconds that a program of PostgreSQL takes."""
    began_s = time.monotonic()
    address = Address(world.uri)
    subprocess.run(
        [str(postgres_bin() / command[0]), *command[1:]],
        env={**os.environ, **address.secrets},
        timeout=_TIMEOUT_S,
        check=True,
    )
    return time.monotonic() - began_s


def plain_restore(world: World, file: Path, name: str) -> float:
    world.postgres.create_database(name)
    target = Address(world.postgres.uri(name))
    taken_s = plain(world, ["pg_restore", f"--jobs={JOBS}", f"--dbname={target.argument}", str(file)])
    query(world.postgres.uri("postgres"), f'DROP DATABASE "{name}" WITH (FORCE)')
    return taken_s


def our_restore(world: World, copy: Copy, name: str) -> dict[str, Any]:
    target = Address(world.postgres.uri(name))
    outcome = asyncio.run(restore_new(replace(world.context(), ledger=None), copy, target, How(jobs=JOBS)))
    query(world.postgres.uri("postgres"), f'DROP DATABASE "{name}" WITH (FORCE)')
    return outcome


def step(outcome: dict[str, Any], name: str) -> float:
    return next(float(s["at_s"]) for s in outcome["timeline"] if s["step"] == name)


def measure(world: World, folder: Path, rounds: int, megabytes: int) -> dict[str, Any]:
    for number in range(TENANTS):
        world.move(world.tenant(f"org-{number}"), "purchase", 1000)
    asyncio.run(ship_for_ever(world.context(), once=True))
    shipped = []
    for _ in range(5):
        world.move("org-1", "consume", 1)
        began_s = time.monotonic()
        asyncio.run(ship_for_ever(world.context(), once=True))
        shipped.append(time.monotonic() - began_s)
    fill(world, megabytes)
    size_bytes = query(world.uri, "SELECT pg_database_size(current_database()) AS size")[0]["size"]
    entries = query(world.uri, "SELECT count(*) AS n FROM credits.ledger")[0]["n"]
    print(f"{size_bytes >> 20} MiB, {entries} entries", flush=True)
    file = folder / "plain.dump"
    plain_dump_s = plain(
        world, ["pg_dump", "--format=custom", f"--file={file}", f"--dbname={Address(world.uri).argument}"]
    )
    made = runs.run(world.context(), Stream.DATABASE)
    copy = world.context().catalog.get(Stream.DATABASE, made["id"])
    theirs, ours = [], []
    for number in range(rounds):
        # who comes first in a round finds the machine as the other has left it: that, too, goes in turns
        for plains in (True, False) if number % 2 == 0 else (False, True):
            if plains:
                theirs.append(plain_restore(world, file, f"plain_{number}"))
            else:
                ours.append(our_restore(world, copy, f"ours_{number}"))
        print(f"round {number + 1}: plain {theirs[-1]:.1f} s, pipeline {step(ours[-1], 'restored'):.1f} s", flush=True)
    restored = [step(o, "restored") for o in ours]
    beside = latency.measure(world, folder, before_s=15.0)
    return {
        "database_bytes": size_bytes,
        "ledger_entries": entries,
        "stored_bytes": made["size_bytes"],
        "plain_dump_bytes": file.stat().st_size,
        "dump_s": made["dump_s"],
        "plain_dump_s": round(plain_dump_s, 2),
        "verify_s": made["verified"]["duration_s"],
        "restore_s": round(statistics.median(restored), 2),
        "plain_restore_s": round(statistics.median(theirs), 2),
        "restore_vs_pg_restore": round(statistics.median(restored) / statistics.median(theirs), 3),
        "restore_compared_s": round(statistics.median(o["restore_s"] for o in ours), 2),
        "ship_s": round(statistics.median(shipped), 2),
        "rounds": rounds,
        **beside,
    }


def losses(folder: Path, s3: S3Server, kills: int, interval_s: float) -> dict[str, Any]:
    """What `kills` of service and database cost, each with a stack of its own."""

    def one(seed: int) -> loss.Loss:
        found = loss.measure(seed, folder / f"loss-{seed}", s3, bucket="bench", interval_s=interval_s)
        print(f"kill {seed}: {found.lost} of {found.acknowledged} calls lost, RPO {found.rpo_s} s", flush=True)
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(one, range(1, kills + 1)))
    rpos = sorted(each.rpo_s for each in found)
    return {
        "audit_rpo_s": rpos[-1],
        "audit_rpo_median_s": statistics.median(rpos),
        "audit_rpo_kills": kills,
        "audit_interval_s": interval_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=KILLS, help="moments at which service and database are killed")
    parser.add_argument("--ship-interval-s", type=float, default=INTERVAL_S, help="the shipper's; the product's is 60")
    parser.add_argument("--short", action="store_true", help="a few megabytes, two kills, an interval of 3 s; not kept")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.megabytes, arguments.rounds, arguments.kills, arguments.ship_interval_s = 60, 1, 2, 3.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-backup-")))
        s3 = S3Server(folder / "s3")
        stack.callback(s3.stop)
        s3.start()
        s3.client().create_bucket(Bucket="bench")
        postgres = Postgres(folder / "postgres", durable=False)
        stack.callback(postgres.stop)
        postgres.start()
        world = make_world(folder / "world", postgres, "credits", s3_environ(s3, folder, "bench/copies"))
        figures = measure(world, folder, arguments.rounds, arguments.megabytes)
        figures |= losses(folder, s3, arguments.kills, arguments.ship_interval_s)
    figures["machine"] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }
    text = json.dumps(figures, indent=1) + "\n"
    if not arguments.short:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
