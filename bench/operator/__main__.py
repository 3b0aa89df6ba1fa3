"""`make bench-operator`: many objects on a real API server, this engine beside a plain kopf operator.

Both operators make one ConfigMap for each Widget. The engine's resync is shortened so that several fit into a run.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench.operator import measure, report
from bench.operator.arena import Arena, arena
from bench.operator.measure import Latency

_ROOT = Path(__file__).resolve().parents[2]
_PORT = 18090
_CLOSED = "http://127.0.0.1:9/"
_SETTLE_TIMEOUT_S = 900.0
_PROBES = 20
_MISSING_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured: `objects` Widgets, `resyncs` looks at each without any change, one every `resync_s`."""

    kubeconfig: str
    objects: int
    resyncs: int
    resync_s: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.operator")
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--resyncs", type=int, default=3)
    parser.add_argument("--resync-s", type=float, default=60.0)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG") or str(_ROOT / ".state" / "kubeconfig"))
    parser.add_argument("--dry", action="store_true", help="print only, leave bench/RESULTS.md as it is")
    args = parser.parse_args()
    setup = Setup(args.kubeconfig, args.objects, args.resyncs, args.resync_s)
    result: dict[str, Any] = {
        "command": f"python -m bench.operator --objects {setup.objects} --resyncs {setup.resyncs} "
        f"--resync-s {setup.resync_s:g}",
        "machine": measure.machine(),
        "commit": measure.commit(),
        "objects": setup.objects,
    }
    result["engine"] = asyncio.run(_engine(setup))
    result["plain_kopf"] = asyncio.run(_plain(setup))
    print(report.table(result))
    if not args.dry:
        report.write(result, _ROOT / "bench")
    faults = report.faults(result)
    for fault in faults:
        print(f"FAILED: {fault}", file=sys.stderr)
    return 1 if faults else 0


async def _engine(setup: Setup) -> dict[str, Any]:
    async with arena(setup.kubeconfig, "engine.bench.shieldx.io", "bench-engine") as ground:
        await _fill(ground, setup)
        command = [sys.executable, "-m", "bench.operator.process", "--port", str(_PORT), "--log-level", "warning"]
        command += ["--resync-s", str(setup.resync_s), *_where(setup, ground)]
        out: dict[str, Any] = {}
        with _Process(command) as operator:
            before = await ground.server_writes()
            out["settle_s"] = await _until(lambda: _engine_settled(setup), operator)
            out |= await _footprint(operator, "settled")
            out["writes_to_settle"] = await ground.server_writes() - before
            out["configmaps"] = await ground.config_maps()
            out |= await _resyncs(setup, ground, operator)
            out |= await _latencies(ground)
            out["drift_repaired_ms"] = await _drift(ground)
            out["exit_code"] = operator.end()
        with _Process(command) as operator:
            out |= await _restart(ground, lambda: _looked_at(setup.objects), operator)
        return out


async def _plain(setup: Setup) -> dict[str, Any]:
    async with arena(setup.kubeconfig, "plain.bench.shieldx.io", "bench-plain") as ground:
        await _fill(ground, setup)
        command = [sys.executable, "-m", "bench.operator.plain", *_where(setup, ground)]
        out: dict[str, Any] = {}

        async def settled() -> bool:
            return await ground.config_maps() >= setup.objects and await _handled(ground) >= setup.objects

        with _Process(command) as operator:
            before = await ground.server_writes()
            out["settle_s"] = await _until(settled, operator)
            out |= await _footprint(operator, "settled")
            out["writes_to_settle"] = await ground.server_writes() - before
            out["configmaps"] = await ground.config_maps()
            out |= await _latencies(ground)
            out["drift_repaired_ms"] = await _drift(ground)
            out["exit_code"] = operator.end()
        with _Process(command) as operator:
            mark = await ground.server_writes()

            async def resumed() -> bool:
                return await ground.server_writes() - mark >= setup.objects

            out |= await _restart(ground, resumed, operator)
        return out


# --- steps


async def _fill(ground: Arena, setup: Setup) -> None:
    started_s = time.monotonic()
    await ground.create_many([f"w-{n:05d}" for n in range(setup.objects)])
    print(f"{ground.namespace}: {setup.objects} objects made in {time.monotonic() - started_s:.0f} s", flush=True)


def _where(setup: Setup, ground: Arena) -> list[str]:
    return ["--kubeconfig", setup.kubeconfig, "--group", ground.group, "--namespace", ground.namespace]


async def _engine_settled(setup: Setup) -> bool:
    try:
        samples = measure.scrape(_PORT)
    except OSError:
        return False
    changed = measure.total(samples, "shieldx_operator_reconciles_total", result="changed")
    return changed >= setup.objects and measure.total(samples, "shieldx_operator_queue_depth") == 0


async def _looked_at(objects: int) -> bool:
    try:
        return measure.total(measure.scrape(_PORT), "shieldx_operator_reconciles_total") >= objects
    except OSError:
        return False


async def _handled(ground: Arena) -> int:
    """Widgets of which the plain operator has stored that it handled them."""
    mark = "kopf.zalando.org/last-handled-configuration"
    return sum(
        [
            1
            async for m in ground.client.all_metadata(ground.resource, ground.namespace)
            if mark in m.get("annotations", {})
        ]
    )


async def _resyncs(setup: Setup, ground: Arena, operator: "_Process") -> dict[str, Any]:
    before, server_before, first = await ground.versions(), await ground.server_writes(), measure.scrape(_PORT)
    cpu_before_s, started_s = measure.cpu_s(operator.pid), time.monotonic()
    goal = measure.total(first, "shieldx_operator_reconciles_total") + setup.resyncs * setup.objects
    while measure.total(measure.scrape(_PORT), "shieldx_operator_reconciles_total") < goal:
        if time.monotonic() - started_s > _SETTLE_TIMEOUT_S:
            raise TimeoutError("the resyncs did not end")
        await asyncio.sleep(1)
    took_s = time.monotonic() - started_s
    last, after = measure.scrape(_PORT), await ground.versions()
    return {
        "resyncs": setup.resyncs,
        "resync_s": setup.resync_s,
        "resyncs_took_s": round(took_s, 1),
        "resync_reconciles": setup.resyncs * setup.objects,
        "resync_writes_by_own_metrics": measure.writes(last) - measure.writes(first),
        "resync_writes_by_api_server": await ground.server_writes() - server_before,
        "resync_objects_changed": sum(after.get(k) != v for k, v in before.items()) + len(after.keys() - before.keys()),
        "resync_cpu_s_each": round((measure.cpu_s(operator.pid) - cpu_before_s) / setup.resyncs, 2),
        **await _footprint(operator, "after_resyncs"),
    }


async def _footprint(operator: "_Process", when: str) -> dict[str, float]:
    return {
        f"rss_mb_{when}": round(measure.rss_mb(operator.pid), 1),
        f"rss_peak_mb_{when}": round(measure.rss_mb(operator.pid, peak=True), 1),
        f"cpu_s_{when}": round(measure.cpu_s(operator.pid), 2),
    }


async def _latencies(ground: Arena) -> dict[str, Any]:
    alone = await _probe(ground, "fresh")
    await ground.create("broken", data={"a": "b"}, call=_CLOSED)
    await asyncio.sleep(3)
    beside = await _probe(ground, "beside")
    await ground.delete(ground.ref("broken"))
    return {"latency": asdict(alone), "latency_beside_broken": asdict(beside)}


async def _probe(ground: Arena, prefix: str) -> Latency:
    """From the answer to the Widget's creation until its ConfigMap is there."""
    took = []
    for n in range(_PROBES):
        name = f"{prefix}-{n}"
        await ground.create(name, data={"n": str(n)})
        waited_s = await ground.until_there(ground.config_map(name), _MISSING_TIMEOUT_S)
        if waited_s is None:
            raise TimeoutError(f"the ConfigMap of Widget {name} did not come within {_MISSING_TIMEOUT_S:g} s")
        took.append(waited_s)
        await ground.delete(ground.ref(name))
    return Latency.of(took)


async def _drift(ground: Arena) -> float | None:
    """Milliseconds until a deleted ConfigMap is back; None if it does not come back."""
    await ground.delete(ground.config_map("w-00000"))
    waited_s = await ground.until_there(ground.config_map("w-00000"), _MISSING_TIMEOUT_S)
    return None if waited_s is None else round(waited_s * 1000, 1)


async def _restart(ground: Arena, over: Callable[[], Any], operator: "_Process") -> dict[str, Any]:
    """What a restart of the operator, an upgrade for example, writes though nothing changed."""
    before = await ground.server_writes()
    took_s = await _until(over, operator, timeout_s=_SETTLE_TIMEOUT_S)
    await asyncio.sleep(2)
    out = {"restart_s": took_s, "restart_writes": await ground.server_writes() - before}
    operator.end()
    return out


async def _until(over: Callable[[], Any], operator: "_Process", timeout_s: float = _SETTLE_TIMEOUT_S) -> float:
    started_s = time.monotonic()
    while not await over():
        operator.check()
        if time.monotonic() - started_s > timeout_s:
            raise TimeoutError(f"not settled within {timeout_s:g} s")
        await asyncio.sleep(0.5)
    return round(time.monotonic() - started_s, 1)


class _Process:
    """An operator as a process of its own; killed at the end if it has not ended."""

    def __init__(self, command: list[str]) -> None:
        # as in an image: compiled once, not at every start
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env["KUBECONFIG"] = command[command.index("--kubeconfig") + 1]
        self._process = subprocess.Popen(command, cwd=_ROOT, env=env)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"the operator ended with exit code {self._process.returncode}")

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        return self._process.wait(timeout=40)


if __name__ == "__main__":
    print(json.dumps({"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}), flush=True)
    sys.exit(main())
