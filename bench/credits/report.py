"""The results as JSON for machines and as a section of bench/RESULTS.md."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Final

from bench.results import keep

_SECTION: Final = "## Credits service"


def _machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown",
    )
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the end"
    )


def _commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def _table(summary: dict[str, float]) -> str:
    lines = [
        "| consumes a second | hot tenant | 10,000 tenants |",
        "| --- | ---: | ---: |",
    ]
    for label, name in (
        ("the service, HTTP, 256 connections", "service"),
        ("pgbench, one function call each, 64 clients", "pgbench_c64"),
        ("pgbench, 8 clients", "pgbench_c8"),
        ("naive FastAPI + asyncpg route, 256 connections", "naive"),
    ):
        cells = [f"{summary[f'{tenants}_{name}_per_s']:,.0f}" for tenants in ("hot", "many")]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    for label, name in (
        ("the service over pgbench with 64 clients", "vs_pgbench_c64"),
        ("the service over pgbench with 8 clients", "vs_pgbench_c8"),
        ("the service over the naive route", "vs_naive"),
    ):
        lines.append(f"| {label} | {summary[f'hot_{name}']:.1f} x | {summary[f'many_{name}']:.1f} x |")
    return "\n".join(lines)


def write_report(folder: Path, summary: dict[str, float], *, rounds: int, seconds: float) -> None:
    """Writes results/credits.json and the section of RESULTS.md under `folder`."""
    document = {**summary, "rounds": rounds, "seconds": seconds, "commit": _commit(), "machine": _machine()}
    body = (
        f"`make bench-credits`, at {document['commit']}, on {document['machine']}. Load generator, "
        f"service, PostgreSQL (fsync on) and Redis share the cores. {rounds} rounds of {seconds:g} s for each line, "
        "interleaved; medians. The database's log has 1 GB of files to use again. "
        "Every request is authenticated and has its own idempotency key; pgbench does the same "
        "durable work without HTTP, authentication and idempotency across connections.\n\n"
        f"{_table(summary)}\n\n"
        f"At 70% of its own peak, open loop, 10,000 tenants ({summary['open_loop_per_s']:,.0f} a second): p95 "
        f"{summary['p95_ms']:.1f} ms, p99 {summary['p99_ms']:.1f} ms. Requests without a 200: "
        f"{summary['errors']:.0f}.\n\n"
        f"Balance reads: {summary['balance_front_per_s']:,.0f} a second, {summary['balance_vs_fastapi']:.1f} times "
        "those that FastAPI answers from the same memory. On a Zipf(1.0) mix of 10,000 tenants "
        f"{summary['hit_rate_zipf'] * 100:.1f}% of reads are answered by the process or Redis "
        f"({summary['zipf_reads_per_s']:,.0f} a second), of 100,000 tenants {summary['hit_rate_zipf_100k'] * 100:.1f}% "
        f"({summary['zipf_100k_reads_per_s']:,.0f} a second): an entry lives for a minute at most, and the rarer a "
        "tenant's reads are, the more of them come after that.\n\n"
        "In the database alone, by batches of 128: lots, holds, leaves and the chain add "
        f"{summary['depth_cost'] * 100:.0f}% to a bare ledger ({summary['depth_cost_cpu'] * 100:.0f}% of its time on a "
        f"core). From {summary['rows_small']:,.0f} to {summary['rows_grown']:,.0f} rows of ledger and idempotency "
        f"records the cost of a consume changes by {summary['growth_cost'] * 100:+.0f}% "
        f"({summary['growth_cost_cpu'] * 100:+.0f}% of its time on a core).\n"
    )
    keep(folder, "credits", document, _SECTION, body)
