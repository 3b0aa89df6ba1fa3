"""One operator process from start to end: elected, it watches and works; told to end, it ends what it began.

Only the leader watches: a process that waits costs one read of the lease each second, and lists everything
when its time comes.
"""

import asyncio
import os
import secrets as stdlib_secrets
import signal
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import structlog
import uvloop

from shieldx_contract import MANAGED_BY
from shieldx_operator.engine import lease
from shieldx_operator.engine.client import Client
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.events import Recorder
from shieldx_operator.engine.health import HealthServer, LoopLag
from shieldx_operator.engine.leader import Elector
from shieldx_operator.engine.measures import Measures
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.reconcile import Reconciler
from shieldx_operator.engine.sweep import Sweep
from shieldx_operator.engine.types import Kind, Ref
from shieldx_operator.engine.watch import SERVER_TIMEOUT_S, Watcher
from shieldx_operator.engine.workers import Workers

LEASE_NAME: Final = MANAGED_BY
DRAIN_TIMEOUT_S: Final = 20.0
_LEASE_CALL_TIMEOUT_S: Final = 4.0
_STALE_ELECTION_S: Final = 30.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a process is told. `namespaces` is empty for the whole cluster; times are in seconds."""

    operator_namespace: str
    pod_name: str
    namespaces: Sequence[str] = ()
    resync_s: float = 600.0
    workers: int = 8
    health_port: int = 8081
    lease_name: str = LEASE_NAME
    watch_timeout_s: int = SERVER_TIMEOUT_S


@dataclass(slots=True)
class Operator:
    """One process. `run` returns its exit code."""

    options: Options
    kinds: Sequence[Kind]
    cluster: Cluster
    metrics: Metrics = field(default_factory=Metrics)
    health: HealthServer = field(init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _elector: Elector | None = None
    _workers: Workers | None = None
    _watcher: Watcher | None = None
    _lag: LoopLag = field(init=False)
    _background: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lag = LoopLag(self.metrics)
        self.health = HealthServer(self.metrics, self.options.health_port, self._problems, self._unready, self._refresh)

    def main(self) -> int:
        """Run in an event loop of its own; see `run`."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self.run())

    async def run(self) -> int:
        """0 after SIGTERM, SIGINT or `stop`; 1 if leadership was lost."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with AsyncExitStack() as stack:
            await self.health.start()
            stack.push_async_callback(self.health.stop)
            stack.push_async_callback(self._end_background)
            self._spawn("loop lag", self._lag.run())
            elector = await self._elect(stack)
            await _first(elector.leading, self._stop, elector.lost)
            if elector.leading.is_set() and not self._stop.is_set():
                await self._lead(stack, elector)
                await _first(self._stop, elector.lost)
            return await self._end(elector)

    def stop(self) -> None:
        self._stop.set()

    async def _elect(self, stack: AsyncExitStack) -> Elector:
        api = await stack.enter_async_context(await self.cluster.client())
        # a connection of its own, no repetition, short: a busy operator must not lose its lease
        client = Client(api, self.metrics, timeout_s=_LEASE_CALL_TIMEOUT_S, attempts=1)
        ref = Ref(lease.LEASES, self.options.operator_namespace, self.options.lease_name)
        me = f"{self.options.pod_name}_{stdlib_secrets.token_hex(4)}"
        self._elector = Elector(client, ref, me)
        self._spawn("election", self._elector.run())
        return self._elector

    async def _lead(self, stack: AsyncExitStack, elector: Elector) -> None:
        self.metrics.leader.set(1)
        api = await stack.enter_async_context(await self.cluster.client())
        http = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        client = Client(api, self.metrics, fence=elector.fence)
        recorder = Recorder(client, self.metrics, instance=self.options.pod_name, controller=MANAGED_BY)
        kinds = {kind.resource: kind for kind in self.kinds}
        measures = Measures.of(self.kinds)
        self.metrics.registry.register(measures)
        reconciler = Reconciler(client, kinds, recorder, http, os.urandom, measures=measures)
        workers = Workers(reconciler.reconcile, self.metrics, self.options.workers, self.options.resync_s)
        reconciler.wake = workers.add
        loop = asyncio.get_running_loop()

        def touched(ref: Ref, routine: bool) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(lambda: workers.add(ref, routine=routine))

        watcher = Watcher(
            self.cluster,
            self.kinds,
            self.options.namespaces,
            touched,
            self.metrics,
            server_timeout_s=self.options.watch_timeout_s,
        )
        sweep = Sweep(
            client,
            watcher,
            [kind.resource for kind in self.kinds],
            self.options.namespaces,
            add=lambda ref: workers.add(ref, routine=True),
            known=lambda ref: ref in workers.queue,
            period_s=self.options.resync_s,
        )
        self._workers, self._watcher = workers, watcher
        workers.start()
        watcher.start()
        self._spawn("sweep", sweep.run())

    async def _end(self, elector: Elector) -> int:
        lost = elector.lost.is_set()
        _log.info("ending", lost_leadership=lost)
        if self._workers is not None:
            # who lost the lease must not go on: another may write by now
            await self._workers.stop(0.0 if lost else DRAIN_TIMEOUT_S)
        if not lost:
            await self._cancel("election")
            await elector.release()
        self.metrics.leader.set(0)
        if self._watcher is not None:
            await asyncio.to_thread(self._watcher.stop)
        return 1 if lost else 0

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._background[name] = asyncio.create_task(coroutine, name=name)

    async def _cancel(self, name: str) -> None:
        task = self._background.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _end_background(self) -> None:
        for name in list(self._background):
            await self._cancel(name)

    def _problems(self) -> list[str]:
        problems = self._lag.problems()
        problems += [
            f"task {name} ended" for name, task in self._background.items() if task.done() and not self._ending
        ]
        if self._elector is not None:
            silent_s = time.monotonic() - self._elector.ticked_s
            if silent_s > _STALE_ELECTION_S and not self._ending:
                problems.append(f"the election has stood still for {silent_s:.0f} s")
        if self._workers is not None:
            problems += [f"{name} ended" for name in self._workers.dead]
        if self._watcher is not None:
            found = self._watcher.ledger.problems(time.monotonic())
            problems += [f"watch {path}: {problem}" for path, problem in found.items()]
        return problems

    @property
    def _ending(self) -> bool:
        return self._stop.is_set() or (self._elector is not None and self._elector.lost.is_set())

    def _unready(self) -> list[str]:
        answered_s = None if self._elector is None else self._elector.answered_s
        if answered_s is None:
            return ["the API server has not answered yet"]
        silent_s = time.monotonic() - answered_s
        return [f"the API server has not answered for {silent_s:.0f} s"] if silent_s > _STALE_ELECTION_S else []

    def _refresh(self) -> None:
        if self._workers is not None:
            self._workers.observe()
        if self._watcher is not None:
            bad = self._watcher.ledger.problems(time.monotonic())
            for path in self._watcher.ledger.paths:
                resource = path.rpartition("/")[2]
                self.metrics.watch_healthy.labels(resource).set(0 if path in bad else 1)


async def _first(*events: asyncio.Event) -> None:
    """Returns when one of the events is set."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
