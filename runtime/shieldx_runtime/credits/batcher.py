"""Group commit without a timer: what queued up while one batch committed is the next.

One batch is under way at a time, on a connection of its own. A tenant whose account somebody else has locked leaves
the common queue for a lane of its own, which waits for the lock: it holds up nobody else. A request is answered within
its time whatever the database does; until its batch has ended, its key counts as in flight.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from shieldx_runtime.core import log
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.problems import overloaded
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.model import Account, Consume, Outcome, Ready, Result

MAX_BATCH: Final = 128
MAX_WAITING: Final = 8192
_WATCH_INTERVAL_S: Final = 0.1
_MARGIN_S: Final = 0.5
_logger = log.get(__name__)

Prepare = Callable[[Consume], Ready]
"""What can be done for a consume as soon as it comes; it does not wait for anything."""
Decide = Callable[[Sequence[Ready], bool], Awaitable[list[Result]]]
"""Decides a batch in its order; the flag says whether to wait for accounts that somebody else has locked."""
Written = Callable[[list[Account]], Awaitable[None]]
"""Takes note of what was written, before it is answered. Never raises."""


class Waiter(Protocol):
    """Somebody who is told the result of one consume, once."""

    def decided(self, result: Result) -> None: ...

    def failed(self, error: Exception) -> None: ...


class _Request:
    __slots__ = ("consume", "deadline", "ready", "waiter")

    def __init__(self, ready: Ready, waiter: Waiter, deadline: float) -> None:
        self.consume = ready.consume
        self.ready = ready
        self.waiter: Waiter | None = waiter
        self.deadline = deadline


class _Lane:
    """A queue and the task that empties it."""

    __slots__ = ("queue", "task")

    def __init__(self) -> None:
        self.queue: deque[_Request] = deque()
        self.task: asyncio.Task[None] | None = None

    def take(self) -> list[_Request]:
        return [self.queue.popleft() for _ in range(min(MAX_BATCH, len(self.queue)))]


class Batcher:
    """`timeout_s` bounds each request; at most `max_lanes` tenants wait for their locks at a time."""

    def __init__(self, prepare: Prepare, decide: Decide, written: Written, *, timeout_s: float, max_lanes: int) -> None:
        self._prepare = prepare
        self._decide = decide
        self._written = written
        self._timeout_s = timeout_s
        self._common = _Lane()
        self._lanes: dict[str, _Lane] = {}
        self._slots = asyncio.Semaphore(max_lanes)
        self._in_flight: dict[tuple[str, str], _Request] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        return len(self._in_flight)

    def is_in_flight(self, tenant_id: str, idempotency_key: str) -> bool:
        return (tenant_id, idempotency_key) in self._in_flight

    def submit(self, consume: Consume, waiter: Waiter) -> None:
        """Queues a consume. `waiter` is told its result within `timeout_s`.

        Raises:
            ProblemError: 409, a request with this key is in flight; 503, too many wait already.
        """
        name = (consume.tenant_id, consume.idempotency_key)
        if name in self._in_flight:
            raise problems.in_flight()
        if len(self._in_flight) >= MAX_WAITING:
            raise overloaded(MAX_WAITING)
        request = _Request(self._prepare(consume), waiter, self._loop.time() + self._timeout_s)
        self._in_flight[name] = request
        lane = self._lanes.get(consume.tenant_id) if self._lanes else None
        (lane or self._common).queue.append(request)
        if lane is None and self._common.task is None:
            self._common.task = self._loop.create_task(self._run_common(), name="consumes")
        if self._watch is None:
            self._watch = self._loop.call_later(_WATCH_INTERVAL_S, self._look_at_clock)

    async def consume(self, consume: Consume) -> Result:
        """The result of a consume. Raises: as `submit`; DatabaseUnavailableError."""
        waiter = _Future(self._loop)
        self.submit(consume, waiter)
        return await waiter.future

    async def _run_common(self) -> None:
        lane = self._common
        try:
            while batch := self._begin(lane):
                results = await self._results(batch, wait=False)
                for request, result in zip(batch, results, strict=True):
                    if isinstance(result, Result) and result.outcome is Outcome.CONTENDED:
                        self._to_own_lane(request)
                self._finish(batch, results)
        finally:
            lane.task = None

    async def _run_lane(self, tenant_id: str, lane: _Lane) -> None:
        try:
            while lane.queue:
                async with self._slots:
                    if batch := self._begin(lane):
                        self._finish(batch, await self._results(batch, wait=True))
        finally:
            del self._lanes[tenant_id]

    def _to_own_lane(self, request: _Request) -> None:
        tenant_id = request.consume.tenant_id
        lane = self._lanes.get(tenant_id)
        if lane is None:
            lane = self._lanes[tenant_id] = _Lane()
            lane.task = self._loop.create_task(self._run_lane(tenant_id, lane), name="consumes of one tenant")
        lane.queue.append(request)

    def _begin(self, lane: _Lane) -> list[_Request]:
        """The next batch: without those who have been told that it took too long, each tenant's in its order."""
        while lane.queue:
            batch = []
            for request in lane.take():
                own = self._lanes.get(request.consume.tenant_id) if self._lanes else None
                if request.waiter is None:
                    self._leave(request)
                elif own is not None and own is not lane:
                    own.queue.append(request)
                else:
                    batch.append(request)
            if batch:
                return batch
        return []

    async def _results(self, batch: list[_Request], *, wait: bool) -> Sequence[Result | Exception]:
        try:
            # the server ends a statement itself; this is for one that is not heard of any more
            async with asyncio.timeout(self._timeout_s + _MARGIN_S):
                return await self._decide([request.ready for request in batch], wait)
        except TimeoutError as error:
            return [DatabaseUnavailableError(f"no answer of the database: {error}")] * len(batch)
        except DatabaseUnavailableError as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - each request gets it as its answer
            if len(batch) == 1:
                return [error]
        # all was rolled back: alone, whoever is at fault fails alone
        return [(await self._results([request], wait=wait))[0] for request in batch]

    def _finish(self, batch: list[_Request], results: Sequence[Result | Exception]) -> None:
        """Answers in the background, so that the next batch is decided meanwhile."""
        task = self._loop.create_task(self._answer(batch, results))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _answer(self, batch: list[_Request], results: Sequence[Result | Exception]) -> None:
        # the last state of each account is all that a cache needs
        accounts = {
            result.account.tenant_id: result.account
            for result in results
            if isinstance(result, Result) and result.account is not None and result.outcome is Outcome.DONE
        }
        if accounts:
            await self._written(list(accounts.values()))
        for request, result in zip(batch, results, strict=True):
            if isinstance(result, Exception) or result.outcome is not Outcome.CONTENDED:
                self._leave(request, result)

    def _leave(self, request: _Request, result: Result | Exception | None = None) -> None:
        del self._in_flight[request.consume.tenant_id, request.consume.idempotency_key]
        waiter, request.waiter = request.waiter, None
        if waiter is None:
            return
        try:
            if isinstance(result, Result):
                waiter.decided(result)
            elif result is not None:
                waiter.failed(result)
        except Exception:
            # one broken connection must not keep the others of its batch from their answers
            _logger.exception("an answer could not be given")

    def _look_at_clock(self) -> None:
        """Tells those whose time is up. Requests stand in the order of their deadlines."""
        self._watch = None
        now = self._loop.time()
        for request in list(self._in_flight.values()):
            if request.deadline > now:
                break
            waiter, request.waiter = request.waiter, None
            if waiter is not None:
                waiter.failed(DatabaseUnavailableError(f"no answer within {self._timeout_s:g} s"))
        if self._in_flight:
            self._watch = self._loop.call_later(_WATCH_INTERVAL_S, self._look_at_clock)


class _Future:
    """A waiter that a coroutine awaits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[Result] = loop.create_future()

    def decided(self, result: Result) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
