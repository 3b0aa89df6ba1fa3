"""What a full ledger costs: beside a bare one, and as its tables grow.

Both are asked of the database alone, by batches of 128 on one connection, as the service decides them: what HTTP costs
hides neither. A batch's cost is told twice: by the clock, and by the time that its backend had a core, which other
work on the machine does not change.
"""

import asyncio
import hashlib
import os
import random
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg

from bench.credits.stage import HERE, TENANTS, Stage

BATCH: Final = 128
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_WARM_BATCHES: Final = 20
_BATCHES: Final = 150
"""Few enough that the ledger is still a small one after all rounds with it."""
_FILL_AT_ONCE: Final = 500_000
_TEXT: Final = "sxe1.0123456789abcdef." + "A" * 68
"""As long as the sealed texts of the other loads."""


@dataclass(frozen=True)
class Cost:
    """Of one consume: `us` by the clock, `cpu_us` of its backend."""

    us: float
    cpu_us: float


def cost_of_depth(stage: Stage, *, rounds: int) -> dict[str, float]:
    """The ledger beside one without lots, chain and leaves, in turns."""
    found: dict[str, list[Cost]] = {"full": [], "bare": []}
    for _ in range(rounds):
        found["full"].append(asyncio.run(_measure(stage, "credits.consume_batch")))
        found["bare"].append(asyncio.run(_measure(stage, "bench.consume_bare")))
    full, bare = (median(c.cpu_us for c in found[name]) for name in ("full", "bare"))
    full_us, bare_us = (median(c.us for c in found[name]) for name in ("full", "bare"))
    return {
        "full_cpu_us": full,
        "bare_cpu_us": bare,
        "depth_cost": full_us / bare_us - 1,
        "depth_cost_cpu": full / bare - 1,
    }


def cost_of_growth(stage: Stage, *, rows: int, rounds: int) -> dict[str, float]:
    """The same batches before and after the ledger and its idempotency records have grown to `rows`."""
    small_rows = int(stage.sql("SELECT count(*) FROM credits.ledger"))
    small = [asyncio.run(_measure(stage, "credits.consume_batch")) for _ in range(rounds)]
    _fill(stage, rows)
    grown = [asyncio.run(_measure(stage, "credits.consume_batch")) for _ in range(rounds)]
    return {
        "rows_small": small_rows,
        "rows_grown": rows,
        "small_us": median(c.us for c in small),
        "grown_us": median(c.us for c in grown),
        "growth_cost": median(c.us for c in grown) / median(c.us for c in small) - 1,
        "growth_cost_cpu": median(c.cpu_us for c in grown) / median(c.cpu_us for c in small) - 1,
    }


async def _measure(stage: Stage, function: str) -> Cost:
    connection = await asyncpg.connect(stage.database_uri)
    try:
        statement = f"SELECT * FROM {function}($1, $2, $3, $4::text[]::uuid[], $5, $6, $7, $8)"  # noqa: S608 - ours
        for _ in range(_WARM_BATCHES):
            await connection.fetch(statement, *_batch())
        # made before: their making is not measured
        batches = [_batch() for _ in range(_BATCHES)]
        pid = connection.get_server_pid()
        began, cpu_before, done = time.perf_counter(), _cpu_s(pid), 0
        for batch in batches:
            await connection.fetch(statement, *batch)
            done += BATCH
        elapsed, cpu = time.perf_counter() - began, _cpu_s(pid) - cpu_before
        return Cost(elapsed / done * 1e6, cpu / done * 1e6)
    finally:
        await connection.close()


def _batch() -> list[Any]:
    tenants = [f"org-{random.randrange(TENANTS):05}" for _ in range(BATCH)]  # noqa: S311 - no secret
    keys = [str(uuid.uuid4()) for _ in range(BATCH)]
    hashes = [hashlib.sha256(key.encode()).digest() for key in keys]
    return [
        False,
        tenants,
        [1] * BATCH,
        keys,
        hashes,
        ["0123456789abcdef"] * BATCH,
        [_TEXT] * BATCH,
        [_TEXT] * BATCH,
    ]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _fill(stage: Stage, rows: int) -> None:
    """Rows as consumes leave them, of all tenants evenly, before their own: versions count down from zero."""
    form = (HERE / "fill.sql").read_text(encoding="utf-8")
    each = _FILL_AT_ONCE // TENANTS
    for first in range(0, rows // TENANTS, each):
        last = min(first + each, rows // TENANTS) - 1
        stage.sql(form.replace("<first>", str(first)).replace("<last>", str(last)).replace("<tenants>", str(TENANTS)))
        print(f"filled {(last + 1) * TENANTS:,} of {rows:,} rows", flush=True)
    stage.sql("CHECKPOINT; ANALYZE credits.ledger; ANALYZE credits.idempotency;")
