"""Workers that take keys from the queue, one reconcile each at a time."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from shieldx_operator.engine.client import ApiError, FencedError
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.queue import KeyedQueue
from shieldx_operator.engine.reconcile import Outcome
from shieldx_operator.engine.types import Ref

RECONCILE_TIMEOUT_S: Final = 120.0
_RESYNC_SPREAD: Final = 0.1
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Workers:
    """`count` workers over one queue. Each object is looked at again after about `resync_s` seconds."""

    reconcile: Callable[[Ref], Awaitable[Outcome]]
    metrics: Metrics
    count: int
    resync_s: float
    random: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    queue: KeyedQueue[Ref] = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _stopping: bool = False
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.queue = KeyedQueue(self.random)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(), name=f"worker {n}") for n in range(self.count)]

    def add(self, ref: Ref, *, routine: bool = False, delay_s: float = 0.0) -> None:
        self.queue.add(ref, self.monotonic(), delay_s=delay_s, routine=routine)
        self._woken.set()

    async def stop(self, timeout_s: float) -> bool:
        """Take no more keys; wait for the running reconciles. Returns whether all of them ended in time."""
        self._stopping = True
        self._woken.set()
        if not self._tasks:
            return True
        _, running = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in running:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return not running

    @property
    def dead(self) -> list[str]:
        """Workers that ended although they should not have."""
        return [] if self._stopping else [task.get_name() for task in self._tasks if task.done()]

    def observe(self) -> None:
        """Bring the gauges up to date."""
        now_s = self.monotonic()
        self.metrics.queue_depth.set(self.queue.depth(now_s))
        self.metrics.queue_oldest_age_s.set(self.queue.oldest_age_s(now_s))

    async def _work(self) -> None:
        while not self._stopping:
            ref = self.queue.take(self.monotonic())
            if ref is None:
                await self._rest()
            else:
                await self._one(ref)

    async def _rest(self) -> None:
        """Until a key is added or becomes due."""
        due_s = self.queue.next_due_s(self.monotonic())
        self._woken.clear()
        timeout_s = None if due_s is None else max(0.0, due_s - self.monotonic())
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return  # a delayed key is due

    async def _one(self, ref: Ref) -> None:
        started_s = self.monotonic()
        kind = ref.resource.kind
        with structlog.contextvars.bound_contextvars(
            kind=kind, namespace=ref.namespace, name=ref.name, reconcile=next(self._ids)
        ):
            try:
                async with asyncio.timeout(RECONCILE_TIMEOUT_S):
                    outcome = await self.reconcile(ref)
            except ApiError as error:
                _log.warning("reconcile could not end", reason=error.reason, said=error.message)
                outcome = Outcome("failed", retry=True)
            except TimeoutError:
                _log.error("reconcile took too long", timeout_s=RECONCILE_TIMEOUT_S)
                outcome = Outcome("failed", retry=True)
            except FencedError as error:
                _log.warning("reconcile given up", said=str(error))
                outcome = Outcome("failed", retry=True)
            except Exception:  # noqa: BLE001 - one object's fault must not take a worker from the others
                _log.exception("reconcile broke")
                outcome = Outcome("failed", retry=True)
            self._settle(ref, outcome, started_s)

    def _settle(self, ref: Ref, outcome: Outcome, started_s: float) -> None:
        now_s = self.monotonic()
        duration_s = now_s - started_s
        self.metrics.reconciles.labels(ref.resource.kind, outcome.result).inc()
        self.metrics.reconcile_duration_s.labels(ref.resource.kind).observe(duration_s)
        retry_in_s = None
        if outcome.result == "gone":
            self.queue.forget(ref)
        elif outcome.retry:
            retry_in_s = round(self.queue.failed(ref, now_s), 1)
            self.metrics.queue_retries.inc()
        else:
            resync_s = self.resync_s * (1 - _RESYNC_SPREAD + 2 * _RESYNC_SPREAD * self.random())
            self.queue.done(ref, now_s, again_in_s=min(resync_s, outcome.again_in_s or resync_s))
        self._woken.set()
        log = _log.debug if outcome.result == "unchanged" else _log.info
        log("reconciled", result=outcome.result, duration_s=round(duration_s, 4), retry_in_s=retry_in_s)
