"""`make bench-shadow`: the engine beside a plain `re` loop and a pool of it, and what its statistics promise."""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.shadow import api, report, speed, traffic
from bench.shadow.simulate import simulate

_ROOT: Final = Path(__file__).resolve().parents[2]
_LARGE: Final = 1_000_000
_WORKERS: Final = 2
_REPEAT: Final = 20
_ROUNDS: Final = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.shadow")
    parser.add_argument("--short", action="store_true", help="a tenth of it, and write nothing")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="how often engine and peers take turns")
    args = parser.parse_args()
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="bench-shadow-") as folder:
        result = _speed(Path(folder), _LARGE // 10 if args.short else _LARGE, args.rounds)
        result |= {} if args.short else api.measure(Path(folder))
    result |= simulate(short=args.short)
    load.append(os.getloadavg()[0])
    result |= {
        "false_promote": max(share for gate, share in result["false_promote_by_gate"].items() if gate != "worst"),
        "machine": report.machine(),
        "commit": report.commit(),
        "source": traffic.source(),
        "load_1min": [round(value, 1) for value in load],
    }
    print(report.table(result))
    if not args.short and not args.no_write:
        report.write(_ROOT / "bench", result)
    faults = report.faults(result)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _speed(folder: Path, large: int, number: int) -> dict[str, Any]:
    small, middle, big = (traffic.write(folder / f"{size}.ndjson", size) for size in (1000, 10_000, large))
    warm = {size: speed.run("engine", path, workers=1, repeat=_REPEAT) for size, path in ((1, small), (10, middle))}
    rounds: dict[str, list[speed.Run]] = {"engine": [], "loop": [], "pool": []}
    for _ in range(number):
        # in turn, so that what else the machine does falls on all of them
        for who, runs in rounds.items():
            runs.append(speed.run(who, big, workers=_WORKERS))
    cells = {run.cells for runs in rounds.values() for run in runs}
    if len(cells) != 1:
        raise RuntimeError(f"engine and peers count differently: {cells}")
    wall = {who: statistics.median(run.wall_s for run in runs) for who, runs in rounds.items()}
    cpu = {who: statistics.median(run.cpu_s for run in runs) for who, runs in rounds.items()}
    return {
        "ms_1000": round(warm[1].wall_s * 1000, 2),
        "ms_10000": round(warm[10].wall_s * 1000, 2),
        "samples_large": large,
        "s_1m": round(wall["engine"], 3),
        "cpu_s_1m": round(cpu["engine"], 3),
        "rss_mib_1m": round(max(run.rss_mib for run in rounds["engine"]), 1),
        "cold_s": round(speed.cold_s(small, 5), 3),
        "loop_s": round(wall["loop"], 3),
        "pool_s": round(wall["pool"], 3),
        "vs_re_loop": round(wall["loop"] / wall["engine"], 2),
        "vs_re_pool": round(wall["pool"] / wall["engine"], 2),
        "vs_re_loop_cpu": round(cpu["loop"] / cpu["engine"], 2),
        "workers": _WORKERS,
    }


if __name__ == "__main__":
    sys.exit(main())
