"""The state of a rate limit: which requests of a client lie in its window."""

from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from shieldx_runtime.shadow.errors import DataError
from shieldx_runtime.shadow.samples import OUT_OF_ORDER, SampleError

MAX_KEPT: Final = 10_000_000
"""Requests within two windows, of all clients together."""


@dataclass(slots=True)
class Pace:
    """Counts the requests of each client in the `window_s` seconds that end with its present one.

    Samples come in the order of the data. A client's timestamps may step back by less than a window; a sample further
    back is an error, since what lay around it is forgotten. What is older than two windows is forgotten, so that memory
    follows the traffic of two windows and not the data.
    """

    requests: int
    window_s: float
    _times: OrderedDict[int, list[float]] = field(default_factory=OrderedDict)
    _newest_s: float = float("-inf")
    _kept: int = 0

    def exceeded(self, client: int, now_s: float) -> bool:
        """Whether this request is beyond the limit; it counts itself.

        Raises:
            SampleError: it is a window or more older than the newest of its client.
            DataError: there are more requests within two windows than can be kept.
        """
        times = self._times.setdefault(client, [])
        if times and now_s <= times[-1] - self.window_s:
            raise SampleError(OUT_OF_ORDER)
        insort(times, now_s)
        self._kept += 1
        self._times.move_to_end(client)
        self._newest_s = max(self._newest_s, now_s)
        self._forget(times, times[-1])
        if self._kept > MAX_KEPT:
            self._forget_clients()
        return bisect_right(times, now_s) - bisect_right(times, now_s - self.window_s) > self.requests

    def _forget(self, times: list[float], newest_s: float) -> None:
        old = bisect_right(times, newest_s - 2 * self.window_s)
        if old > len(times) // 2:  # not each time: a list moves all that is behind
            del times[:old]
            self._kept -= old

    def _forget_clients(self) -> None:
        for client, times in list(self._times.items()):
            if times[-1] <= self._newest_s - 2 * self.window_s:
                self._kept -= len(times)
                del self._times[client]
        if self._kept > MAX_KEPT // 2:
            raise DataError(
                f"rate_limiting: more than {MAX_KEPT // 2:,} requests within two windows of {self.window_s:g} s; "
                "shorten windowSeconds, or split the data by client"
            )
