"""How many requests a key may make: a count for each window of time, in this process, without I/O.

What other processes have counted of a key with a limit of its own comes in from outside: `quota_sharing`.

Told in the fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10: `q` requests in `w`
seconds, of which `r` are left for the next `t` seconds.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from shieldx_runtime.core.problems import Kind, ProblemError

WINDOW_S: Final = 10
POLICY: Final = "key"
_MAX_KEYS: Final = 10_000
_CLOCK_GRAIN_S: Final = 1e-6

EXCEEDED: Final = Kind("quota-exceeded", 429, "Quota exceeded")


class Quota:
    """One key's window. Times are of `time.perf_counter`."""

    __slots__ = ("_begins", "_ends", "_left", "_limit", "_policy", "_told", "shared")

    def __init__(self, limit: int, begins: "Callable[[Quota], None] | None" = None) -> None:
        """`begins` is called at the beginning of each window."""
        self._begins = begins
        self._limit = 0
        self._left = 0
        self._told = 0
        """What was left when others were told last: what has been used since, they have yet to hear of."""
        self._ends = 0.0
        self._policy = b""
        self.shared = False
        """Whether the limit is one for all processes."""
        self.set_limit(limit)

    @property
    def limit(self) -> int:
        return self._limit

    def set_limit(self, limit: int) -> None:
        """Another limit counts at once: what was used of the window stays used."""
        if limit != self._limit:
            untold = self._told - self._left
            self._left = max(0, self._left + limit - self._limit)
            self._told = self._left + untold
            self._limit = limit
            self._policy = b'"%b";q=%d;w=%d' % (POLICY.encode(), limit, WINDOW_S)

    def admits(self, now: float) -> bool:
        """Whether a request that came at `now` may be answered; whoever answers it counts it."""
        if now >= self._ends:
            self._ends = now + WINDOW_S
            self._left = self._told = self._limit
            if self._begins is not None:
                self._begins(self)
        return self._left > 0

    def is_over(self, now: float) -> bool:
        """Whether the window that began last has ended."""
        return now >= self._ends

    def tell(self) -> tuple[int, float]:
        """How many requests were counted since it was asked last, and when the window ends."""
        untold, self._told = self._told - self._left, self._left
        return untold, self._ends

    def hear(self, window: float, used: int, left_s: float, now: float) -> None:
        """All processes together have used so many, and count anew `left_s` after `now`.

        `window` is the end that was told with it: for one that is over by now it says nothing.
        """
        if window != self._ends:
            return
        untold = self._told - self._left
        self._left = max(0, self._limit - used - untold)
        self._told = self._left + untold
        self._ends = now + left_s

    def count(self) -> None:
        self._left -= 1

    def refusal(self, now: float) -> ProblemError:
        """The 429 of a request that came at `now`."""
        wait_s = self._wait_s(now)
        return ProblemError(
            EXCEEDED,
            f"the key has made its {self._limit} requests within {WINDOW_S} s; nothing was changed: "
            f"send this one again in {wait_s} s, or have the key's rate_limit raised",
            headers={"Retry-After": str(wait_s)},
            **{"violated-policies": [POLICY]},
        )

    def fields(self, began: float) -> bytes:
        """The lines of the answer to a request that came at `began`, each with its end."""
        return b'ratelimit-policy: %b\r\nratelimit: "key";r=%d;t=%d\r\n' % (
            self._policy,
            self._left,
            self._wait_s(began),
        )

    def headers(self, began: float) -> list[tuple[bytes, bytes]]:
        """As `fields`, the way ASGI wants them."""
        told = b'"key";r=%d;t=%d' % (self._left, self._wait_s(began))
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", told)]

    def _wait_s(self, now: float) -> int:
        """Whole seconds until the window ends."""
        return max(0, math.ceil(self._ends - now - _CLOCK_GRAIN_S))


class Quotas:
    """The windows of the keys that came last, at most 10,000. `limit` is for a key that has none of its own.

    `shared` are those that may be open of keys with a limit of their own, by their ids.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._quotas: OrderedDict[str, Quota] = OrderedDict()
        self.shared: dict[str, Quota] = {}

    def of(self, key_id: str, own_limit: int | None = None) -> Quota:
        """The window of a key, the same one as long as the key is in use."""
        limit = own_limit or self._limit
        quota = self._quotas.get(key_id)
        if quota is None:
            quota = self._quotas[key_id] = Quota(limit, partial(self._begins, key_id))
            if len(self._quotas) > _MAX_KEYS:
                self._quotas.popitem(last=False)
        else:
            quota.set_limit(limit)
            self._quotas.move_to_end(key_id)
        quota.shared = own_limit is not None
        return quota

    def _begins(self, key_id: str, quota: Quota) -> None:
        if quota.shared and (len(self.shared) < _MAX_KEYS or key_id in self.shared):
            self.shared[key_id] = quota
