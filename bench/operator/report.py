"""The benchmark's result as a table, as JSON, and as what must not be."""

from pathlib import Path
from typing import Any

from bench.results import keep

_SECTION = "## Operator engine"
_MAX_RSS_MB = 150.0
_MAX_DELAY_FACTOR = 3.0
_ROWS = (
    ("time to settle", "settle_s", "s"),
    ("writes to Widgets until settled, by the API server", "writes_to_settle", ""),
    ("CPU until settled", "cpu_s_settled", "s"),
    ("memory when settled (RSS)", "rss_mb_settled", "MB"),
    ("memory at its peak (RSS)", "rss_peak_mb_settled", "MB"),
    ("memory after the resyncs (RSS)", "rss_mb_after_resyncs", "MB"),
    ("memory at its peak, resyncs included (RSS)", "rss_peak_mb_after_resyncs", "MB"),
    ("resyncs of every object", "resyncs", ""),
    ("period of a resync (shortened; default 600 s)", "resync_s", "s"),
    ("writes in the resyncs, by the API server", "resync_writes_by_api_server", ""),
    ("writes in the resyncs, by own metrics (lease left out)", "resync_writes_by_own_metrics", ""),
    ("objects whose resourceVersion changed in the resyncs", "resync_objects_changed", ""),
    ("CPU of one resync", "resync_cpu_s_each", "s"),
    ("restart: time until every object was looked at", "restart_s", "s"),
    ("restart: writes to Widgets though nothing changed", "restart_writes", ""),
)


def table(result: dict[str, Any]) -> str:
    engine, plain = result["engine"], result["plain_kopf"]
    lines = [f"| {result['objects']} objects | engine | plain kopf handlers |", "| --- | ---: | ---: |"]
    for label, key, unit in _ROWS:
        lines.append(f"| {label} | {_cell(engine.get(key), unit)} | {_cell(plain.get(key), unit)} |")
    for label, key in (
        ("a fresh object's ConfigMap", "latency"),
        ("the same beside a broken object", "latency_beside_broken"),
    ):
        cells = [f"{r[key]['median_ms']:g} / {r[key]['worst_ms']:g} ms" for r in (engine, plain)]
        lines.append(f"| {label}, median / worst of 20 | {cells[0]} | {cells[1]} |")
    drift = [r["drift_repaired_ms"] for r in (engine, plain)]
    cells = [f"{d:g} ms" if d is not None else "not within 15 s" for d in drift]
    lines.append(f"| a deleted ConfigMap is back | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def write(result: dict[str, Any], folder: Path) -> None:
    """Write bench/results/operator.json and the section of bench/RESULTS.md."""
    machine = result["machine"]
    body = (
        f"`{result['command']}` (`make bench-operator`), at {result['commit']}, on "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}, the cluster on the same machine (load {machine['load_1min_at_start']}).\n\n"
        "Both operators make one ConfigMap for each Widget, on the same real API server, one after the other. "
        "The plain one has kopf handlers for create, update and resume; it has no resync to measure.\n\n"
        f"{table(result)}\n"
    )
    keep(folder, "operator", result, _SECTION, body)


def faults(result: dict[str, Any]) -> list[str]:
    """What the benchmark holds the engine to."""
    engine = result["engine"]
    found = [
        f"{key} is {engine[key]:g}, not 0"
        for key in (
            "resync_writes_by_api_server",
            "resync_writes_by_own_metrics",
            "resync_objects_changed",
            "restart_writes",
            "exit_code",
        )
        if engine[key]
    ]
    if engine["configmaps"] != result["objects"]:
        found.append(f"{engine['configmaps']} ConfigMaps for {result['objects']} objects")
    if engine["rss_peak_mb_after_resyncs"] > _MAX_RSS_MB:
        found.append(f"memory is {engine['rss_peak_mb_after_resyncs']} MB; at most {_MAX_RSS_MB:g} MB are allowed")
    alone, beside = engine["latency"]["median_ms"], engine["latency_beside_broken"]["median_ms"]
    if beside > _MAX_DELAY_FACTOR * alone:
        found.append(f"a broken object delays the others: {beside:g} ms instead of {alone:g} ms")
    if engine["drift_repaired_ms"] is None:
        found.append("a deleted ConfigMap did not come back")
    return found


def _cell(value: Any, unit: str) -> str:
    return "-" if value is None else f"{value:g} {unit}".strip()
