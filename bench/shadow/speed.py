"""Times and memory of the engine and of its peers, each run in a process of its own.

`python -m bench.shadow.speed WHO FILE WORKERS REPEAT` runs one and prints a line of JSON.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.shadow import peers

PATTERN: Final = r"(?i)union\s+(all\s+)?select|<script|\.\./"
RULE: Final = {"type": "signature", "syntax": "regex", "pattern": PATTERN}
TIMEOUT_S: Final = 600
_WHO: Final = ("engine", "loop", "pool")


@dataclass(frozen=True, slots=True)
class Run:
    """`wall_s` is the median of the repetitions; CPU and memory are of all processes, the memory an upper bound."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    cells: tuple[int, int, int, int]


def run(who: str, path: Path, *, workers: int, repeat: int = 1) -> Run:
    """One run in a fresh process.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "bench.shadow.speed", who, str(path), str(workers), str(repeat)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    told = json.loads(done.stdout)
    return Run(told["wall_s"], told["cpu_s"], told["rss_mib"], tuple(told["cells"]))


def cold_s(path: Path, times: int) -> float:
    """Median seconds from the start of an interpreter to the counts of a small file."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run("engine", path, workers=1)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _engine(path: Path, workers: int) -> Callable[[], peers.Cells]:
    from shieldx_runtime.shadow.evaluation import evaluate  # noqa: PLC0415 - a peer must not pay for it
    from shieldx_runtime.shadow.task import Task  # noqa: PLC0415 - as above

    task = Task.from_dict({"rule": RULE, "data": {"path": str(path)}, "workers": workers, "batchSize": 1000})

    def once() -> peers.Cells:
        cells = evaluate(task).counts.matrix
        return cells.tp, cells.fp, cells.tn, cells.fn

    return once


def _measure(once: Callable[[], peers.Cells], workers: int, repeat: int) -> dict[str, Any]:
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        cells = once()
        taken.append(time.perf_counter() - began)
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": statistics.median(taken),
        "cpu_s": (own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime) / repeat,
        "rss_mib": (own.ru_maxrss + (workers * children.ru_maxrss if workers > 1 else 0)) / 1024,
        "cells": cells,
    }


def main() -> None:
    who, path, workers, repeat = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if who not in _WHO:
        sys.exit(f"{who!r} is none of {', '.join(_WHO)}")
    once: dict[str, Callable[[], Callable[[], peers.Cells]]] = {
        "engine": lambda: _engine(path, workers),
        "loop": lambda: lambda: peers.loop(path, PATTERN),
        "pool": lambda: lambda: peers.pool(path, PATTERN, workers),
    }
    print(json.dumps(_measure(once[who](), workers, repeat)))
    # no interpreter's farewell in the cold time
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
