"""What the benchmark reads: processes from /proc, metrics as text, the API server's own counters."""

import os
import re
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+)$")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


def rss_mb(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process in MB (10^6 bytes), now or at its peak."""
    field = "VmHWM" if peak else "VmRSS"
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def parse_metrics(text: str) -> list[tuple[str, dict[str, str], float]]:
    """Samples of a Prometheus text: name, labels, value."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match:
            found.append((match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def scrape(port: int) -> list[tuple[str, dict[str, str], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return parse_metrics(answer.read().decode())


def total(samples: Sequence[tuple[str, dict[str, str], float]], name: str, **labels: str) -> float:
    return sum(v for n, there, v in samples if n == name and labels.items() <= there.items())


def writes(samples: Sequence[tuple[str, dict[str, str], float]]) -> float:
    """Calls by which an operator changed anything but its lease."""
    verbs = ("create", "update", "patch", "delete")
    return sum(
        v
        for n, labels, v in samples
        if n == "shieldx_operator_api_calls_total" and labels["verb"] in verbs and labels["resource"] != "leases"
    )


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    median_ms: float
    worst_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        return cls(round(statistics.median(seconds) * 1000, 1), round(max(seconds) * 1000, 1))


def machine() -> dict[str, str]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else "unknown",
        "cores": str(os.cpu_count()),
        "memory_gib": f"{int(memory[1]) / 2**20:.1f}" if memory else "unknown",
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
        "load_1min_at_start": f"{os.getloadavg()[0]:.2f}",
    }


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
