"""`python -m bench.credits`: all peers in one run, interleaved, medians over the rounds.

`--short` is for development: it takes two minutes, writes nothing, and its figures mean little.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Final

from bench.credits.depth import cost_of_depth, cost_of_growth
from bench.credits.loads import TENANTS_OF, Measured, balances, consumes, open_loop, pgbench, zipf_hit_rate
from bench.credits.report import write_report
from bench.credits.stage import TENANTS, ZIPF_TENANTS, BenchError, Stage, stage

_ROOT: Final = Path(__file__).resolve().parents[2]
_SHARE_OF_PEAK: Final = 0.7
_READ_TENANTS: Final = 1000
_WARM_S: Final = 2.0
_CACHE_CYCLE_S: Final = 65.0
"""Longer than any tier keeps a balance: a hit rate over less would be that of a cache that has just been started."""

_GROWN_ROWS: Final = 10_000_000

Runs = dict[str, list[Measured]]


def _round(on: Stage, runs: Runs, *, seconds: float, number: int) -> None:
    """Every load once, each beside its peers."""
    for name, tenants in TENANTS_OF.items():
        runs[f"{name}_pgbench_c8"].append(pgbench(on, clients=8, tenants=tenants, seconds=seconds))
        runs[f"{name}_service"].append(
            consumes(on, on.service.url, tenants=tenants, seconds=seconds, seed=number * 10 + 1)
        )
        runs[f"{name}_pgbench_c64"].append(pgbench(on, clients=64, tenants=tenants, seconds=seconds))
        runs[f"{name}_naive"].append(consumes(on, on.naive_url, tenants=tenants, seconds=seconds, seed=number * 10 + 2))
    # both ways read from memory: it is filled first
    balances(on, way="front", tenants=_READ_TENANTS, mix="even", seconds=_WARM_S, seed=number)
    for way in ("front", "route"):
        runs[f"balance_{way}"].append(
            balances(on, way=way, tenants=_READ_TENANTS, mix="even", seconds=seconds, seed=number)
        )
    peak = median(m.rate for m in runs["many_service"])
    runs["open_loop"].append(open_loop(on, rate=peak * _SHARE_OF_PEAK, seconds=seconds))


def _summary(runs: Runs) -> dict[str, float]:
    rate = {name: median(m.rate for m in measured) for name, measured in runs.items()}
    summary = {f"{name}_per_s": value for name, value in rate.items()}
    for name in TENANTS_OF:
        for peer in ("pgbench_c64", "pgbench_c8", "naive"):
            key = peer.removeprefix("pgbench_")
            label = f"{name}_vs_naive" if peer == "naive" else f"{name}_vs_pgbench_{key}"
            if not rate[f"{name}_{peer}"]:
                raise BenchError(f"the peer {name}_{peer} did nothing in most rounds: measure for longer (--seconds)")
            summary[label] = rate[f"{name}_service"] / rate[f"{name}_{peer}"]
        summary[f"{name}_p99_ms_at_peak"] = median(m.p99_ms for m in runs[f"{name}_service"])
    summary["balance_vs_fastapi"] = rate["balance_front"] / rate["balance_route"]
    summary["p95_ms"] = median(m.p95_ms for m in runs["open_loop"])
    summary["p99_ms"] = median(m.p99_ms for m in runs["open_loop"])
    summary["errors"] = sum(m.errors for name in ("hot_service", "many_service", "open_loop") for m in runs[name])
    return {name: round(value, 4) for name, value in summary.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.credits", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--short", action="store_true", help="one round of 2 s; nothing is written")
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.short else (options.rounds, options.seconds)
    runs: Runs = defaultdict(list)
    with stage(_ROOT / ".state" / "bench-credits") as on:
        consumes(on, on.service.url, tenants=TENANTS, seconds=1, seed=0)
        for number in range(rounds):
            _round(on, runs, seconds=seconds, number=number)
            print(f"round {number + 1} of {rounds}:", json.dumps({n: round(m[-1].rate) for n, m in runs.items()}))
        cycle_s = seconds if options.short else _CACHE_CYCLE_S
        found: dict[str, float] = {}
        for label, tenants in (("", TENANTS), ("_100k", ZIPF_TENANTS)):
            found[f"hit_rate_zipf{label}"], found[f"zipf{label}_reads_per_s"] = zipf_hit_rate(
                on, tenants=tenants, seconds=cycle_s, seed=1
            )
    with stage(_ROOT / ".state" / "bench-credits") as on:
        rows = _GROWN_ROWS // (50 if options.short else 1)
        found |= cost_of_depth(on, rounds=rounds)
        found |= cost_of_growth(on, rows=rows, rounds=rounds)
    summary = _summary(runs) | {name: round(value, 4) for name, value in found.items()}
    print(json.dumps(summary, indent=2))
    if not options.short:
        write_report(_ROOT / "bench", summary, rounds=rounds, seconds=seconds)


if __name__ == "__main__":
    main()
