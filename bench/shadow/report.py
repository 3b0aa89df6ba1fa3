"""The results as JSON for machines and as a section of bench/RESULTS.md."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

from bench.results import keep

_SECTION: Final = "## Shadow evaluation"
_COVERAGE: Final = (0.93, 0.97)
_MAX_FALSE_PROMOTE: Final = 0.05
_MAX_RSS_MIB: Final = 300


def machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown",
    )
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"


def commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def table(result: dict[str, Any]) -> str:
    rows = [
        ("1,000 samples, warm", f"{result['ms_1000']:.1f} ms", "50 ms"),
        ("10,000 samples, warm", f"{result['ms_10000']:.1f} ms", "150 ms"),
        (f"{result['samples_large']:,} samples, streamed", f"{result['s_1m']:.2f} s", "4 s for 1,000,000"),
        ("the same, CPU of all processes", f"{result['cpu_s_1m']:.2f} s", ""),
        ("the same, memory of all processes", f"{result['rss_mib_1m']:.0f} MiB", "300 MiB"),
        ("a cold process with 1,000 samples", f"{result['cold_s']:.2f} s", "0.6 s"),
        ("plain `re` loop, one process", f"{result['loop_s']:.2f} s", ""),
        ("process pool of that loop", f"{result['pool_s']:.2f} s", ""),
        ("engine over the loop", f"{result['vs_re_loop']:.1f} x", ""),
        ("engine over the pool", f"{result['vs_re_pool']:.1f} x", ""),
        ("CPU of the loop over that of the engine", f"{result['vs_re_loop_cpu']:.1f} x", ""),
    ]
    if "p95_s_100x10000" in result:
        told = f"{result['p95_s_100x10000']:.1f} s, {result['lost_of_100']} lost"
        rows.append(("100 evaluations of 10,000 at once by HTTP, 95th percentile", told, "10 s, none lost"))
    lines = ["| | measured | bar |", "| --- | ---: | ---: |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    lines += ["", "| 95% intervals hold the truth | mean | least | most |", "| --- | ---: | ---: | ---: |"]
    for name, share in result["coverage"].items():
        cells = " | ".join(f"{share[key]:.1%}" for key in ("mean", "least", "most"))
        lines.append(f"| {name.replace('_', ' ')} | {cells} |")
    lines += ["", "| a rule exactly at its gate is promoted | share |", "| --- | ---: |"]
    lines += [f"| {name} | {share:.1%} |" for name, share in result["false_promote_by_gate"].items()]
    return "\n".join(lines)


def write(folder: Path, result: dict[str, Any]) -> None:
    """Write results/shadow.json and the section of RESULTS.md under `folder`."""
    body = (
        f"`make bench-shadow`, at {result['commit']}, on {result['machine']}, load "
        f"{result['load_1min'][0]} at the start and {result['load_1min'][1]} at the end. Samples: {result['source']}; "
        "the rule is one regular expression; engine, loop and pool count the same matrix in turn.\n\n"
        f"{table(result)}\n\n{result['worlds']} worlds of 200 to 20,000 samples, {result['draws']} draws each, seed "
        f"{result['seed']}; `mean` is what a 95% interval promises. Of two equally good rules one is called better in "
        f"{result['false_better']:.1%}.\n"
    )
    keep(folder, "shadow", result, _SECTION, body)


def faults(result: dict[str, Any]) -> list[str]:
    """What is beyond its bar. Times depend on what else the machine does, and are told, not judged."""
    found = []
    for name, share in result["coverage"].items():
        if not _COVERAGE[0] <= share["mean"] <= _COVERAGE[1]:
            found.append(f"the intervals of {name} hold the truth in {share['mean']:.1%}, not in 93% to 97%")
    if result["false_promote"] > _MAX_FALSE_PROMOTE:
        found.append(f"a rule at its gate is promoted in {result['false_promote']:.1%}; at most 5% are allowed")
    if result["rss_mib_1m"] > _MAX_RSS_MIB:
        found.append(f"memory is {result['rss_mib_1m']:.0f} MiB; at most 300 MiB are allowed")
    if result.get("lost_of_100"):
        found.append(f"{result['lost_of_100']} of 100 evaluations at once were lost")
    return found
