"""One measurement each: what is loaded, by which program, and what it says."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from bench.credits.stage import HERE, TENANTS, BenchError, Stage
from dev.devserver.binaries import postgres_bin

CONNECTIONS: Final = 256
_MARGIN_S: Final = 60


@dataclass(frozen=True)
class Measured:
    """`rate` is requests or transactions a second; the rest is for HTTP."""

    rate: float
    errors: int = 0
    p95_ms: float = 0.0
    p99_ms: float = 0.0


def pgbench(stage: Stage, *, clients: int, tenants: int, seconds: float) -> Measured:
    """The same durable work for each transaction, as one call of one function."""
    script = (
        "\\set chain 1000 + :client_id\n"
        f"\\set tenant random(0, {tenants - 1})\n"
        "SELECT bench.consume('org-' || to_char(:tenant::int, 'FM00000'), 1, :chain);\n"
    )
    command = [str(postgres_bin() / "pgbench"), "-n", "-M", "prepared", "-f", "-", "-c", str(clients), "-j", "2"]
    run = subprocess.run(
        [*command, "-T", str(max(1, round(seconds)))],
        input=script,
        env=stage.database_environ,
        capture_output=True,
        text=True,
        timeout=seconds + _MARGIN_S,
        check=False,
    )
    if "transactions actually processed: 0" in run.stdout:
        # 64 clients on one row of a busy machine: none came through in this time
        return Measured(0.0)
    rate = re.search(r"^tps = (\S+)", run.stdout, re.MULTILINE)
    if run.returncode or not rate:
        raise BenchError(
            f"pgbench ended with {run.returncode}: {run.stdout.strip()[-500:]} {run.stderr.strip()[-500:]}"
        )
    return Measured(float(rate[1]))


def wrk(url: str, key: str, script: str, seconds: float, *arguments: str) -> Measured:
    """As many requests as 256 connections can have answered."""
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
    run = subprocess.run(
        [*command, "-s", str(HERE / "lua" / script), url, "--", *arguments],
        env={**os.environ, "BENCH_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=seconds + _MARGIN_S,
        check=False,
    )
    said = re.search(r"^RESULT (\d+) (\d+) (\d+) (\S+) (\S+)$", run.stdout, re.MULTILINE)
    if run.returncode or not said:
        raise BenchError(f"wrk failed: {run.stdout.strip()} {run.stderr.strip()}")
    return Measured(int(said[1]) / (int(said[2]) / 1e6), int(said[3]), float(said[4]), float(said[5]))


def consumes(stage: Stage, url: str, *, tenants: int, seconds: float, seed: int) -> Measured:
    return wrk(url, stage.key, "consume.lua", seconds, str(tenants), str(seed))


def balances(stage: Stage, *, way: str, tenants: int, mix: str, seconds: float, seed: int) -> Measured:
    """`way`: front or route (FastAPI); `mix`: even or zipf."""
    return wrk(stage.service.url, stage.key, "balance.lua", seconds, str(tenants), str(seed), way, mix)


def open_loop(stage: Stage, *, rate: float, seconds: float) -> Measured:
    """Consumes of many tenants at a fixed rate; latency from the moment at which each was due."""
    command = [sys.executable, str(HERE / "openloop.py"), stage.service.url]
    run = subprocess.run(
        [*command, str(rate), str(seconds), str(CONNECTIONS)],
        input=stage.key + "\n",
        capture_output=True,
        text=True,
        timeout=seconds + _MARGIN_S,
        check=False,
    )
    if run.returncode:
        raise BenchError(f"the open loop failed: {run.stderr.strip()[-500:]}")
    said = json.loads(run.stdout)
    return Measured(said["due"] / seconds, said["errors"], said["p95_ms"], said["p99_ms"])


def zipf_hit_rate(stage: Stage, *, tenants: int, seconds: float, seed: int) -> tuple[float, float]:
    """Share of balance reads that process or Redis answered, on a Zipf(1.0) mix of tenants, after a warm-up; reads/s.

    An entry that lives for T s and is read c/i times a second is found with the chance cT/i / (1 + cT/i), so that of
    N tenants 1 - ln(1 + N/(rT/H)) / H is to be expected, with H = ln(N) + 0.577 and r reads a second.
    """
    for measured in (False, True):
        before = stage.cache_reads()
        balances(stage, way="front", tenants=tenants, mix="zipf", seconds=seconds, seed=seed + measured)
        after = stage.cache_reads()
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    reads = grown["l1", "hit"] + grown["l1", "miss"]
    return (grown["l1", "hit"] + grown["l2", "hit"]) / reads, reads / seconds


TENANTS_OF: Final = {"hot": 1, "many": TENANTS}
