"""One limit for all processes: each counts by itself, and several times a second they add up what they have counted.

A request waits for nobody: it is decided on what this process knows. So beyond a limit goes at most what others let
through since they told it last; that is taken off the next window, and over time the limit is kept. Where the others
cannot be heard, each process counts alone.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from shieldx_runtime.core import log
from shieldx_runtime.core.quota import WINDOW_S, Quota, Quotas

INTERVAL_S: Final = 0.2
_AT_A_TIME: Final = 512
_FAULT_S: Final = 60.0
_logger = log.get(__name__)

Count: TypeAlias = "tuple[str, int, int, float]"
"""A key's id, what this process has counted since it told it last, the limit, and how many seconds are left."""
Add: TypeAlias = "Callable[[Sequence[Count], int], Awaitable[list[tuple[int, float]] | None]]"
"""Adds counts up, for windows of so many seconds: for each, what all have used and how many seconds are left of it.

None: the others were not reached.
"""


class Sharing:
    """`add` is `Cache.add_up`, or what stands for it."""

    def __init__(self, quotas: Quotas, add: Add, clock: Callable[[], float] = time.perf_counter) -> None:
        self._quotas = quotas
        self._add = add
        self._clock = clock

    async def run(self) -> None:
        """Goes on until it is cancelled, whatever happens."""
        while True:
            pause_s = INTERVAL_S
            try:
                for _ in range(1 + len(self._quotas.shared) // _AT_A_TIME):
                    await self.exchange()
            except Exception:
                # it must never end: each process would let the whole limit through
                _logger.exception("rate limits were not shared", next_try_s=_FAULT_S)
                pause_s = _FAULT_S
            # jitter, so that replicas do not come in step
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def exchange(self) -> None:
        """Tells and hears once of what is open: of the 512 keys that waited longest."""
        now = self._clock()
        told = [(key_id, quota, *quota.tell()) for key_id, quota in self._take(now)]
        if not told:
            return
        counts = [(key_id, used, quota.limit, ends - now) for key_id, quota, used, ends in told]
        heard = await self._add(counts, WINDOW_S)
        if heard is None:
            return
        for (_, quota, _, ends), (used, left_s) in zip(told, heard, strict=True):
            if used:
                # counted from before the call: a window must not grow by the time that it took
                quota.hear(ends, used, left_s, now)

    def _take(self, now: float) -> list[tuple[str, Quota]]:
        """Of the open ones, those that waited longest. What is over is forgotten until its next window begins."""
        some: list[tuple[str, Quota]] = []
        for key_id, quota in list(self._quotas.shared.items()):
            if len(some) == _AT_A_TIME:
                break
            del self._quotas.shared[key_id]
            if quota.shared and not quota.is_over(now):
                self._quotas.shared[key_id] = quota
                some.append((key_id, quota))
        return some
