"""The queue of keys to look at: each key once, its own backoff, its own delay.

It takes the time as an argument and never waits, so that tests need no clock; `workers.py` waits for it.

- A key is there once, however often it is added; the earliest wish wins.
- A key that is being worked on is not given to a second worker: it is looked at again afterwards.
- A key that failed waits, longer each time, from `MIN_BACKOFF_S` to `MAX_BACKOFF_S`, with jitter. An event about it
  (its cause may be mended) brings it forward, but never sooner than `MIN_BACKOFF_S` after the failure: an object
  whose failing reconcile makes events must not spin.
- Keys that changed go before keys that are only looked at again, but every fourth turn is the latter's.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MIN_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 300.0
_ROUTINE_TURN: Final = 4
_MAX_DOUBLINGS: Final = 30


@dataclass(slots=True)
class _Failing:
    times: int
    not_before_s: float


@dataclass(slots=True)
class KeyedQueue(Generic[K]):
    """Distinct keys, each due at some time. `random` returns numbers from 0 up to 1.

    Not bounded by a number: it holds each key of an existing object at most once.
    """

    random: Callable[[], float]
    _due: dict[K, tuple[float, bool]] = field(default_factory=dict)
    _heap: list[tuple[float, int, K]] = field(default_factory=list)
    _ready: tuple[OrderedDict[K, float], OrderedDict[K, float]] = field(
        default_factory=lambda: (OrderedDict(), OrderedDict())
    )
    _active: dict[K, tuple[float, bool] | None] = field(default_factory=dict)
    _failing: dict[K, _Failing] = field(default_factory=dict)
    _sequence: int = 0
    _turn: int = 0
    retries: int = 0

    def add(self, key: K, now_s: float, *, delay_s: float = 0.0, routine: bool = False) -> None:
        """Wish that `key` is looked at in `delay_s` seconds; `routine` if nothing is known to have changed."""
        due_s = now_s + max(0.0, delay_s)
        failing = self._failing.get(key)
        if failing is not None:
            due_s = max(due_s, failing.not_before_s)
        self._schedule(key, due_s, routine=routine)

    def _schedule(self, key: K, due_s: float, *, routine: bool) -> None:
        if key in self._active:
            self._active[key] = _earlier(self._active[key], (due_s, routine))
            return
        lane = self._lane_of(key)
        if lane is not None:
            if lane == 1 and not routine and self._due.get(key) is None:
                self._ready[0][key] = self._ready[1].pop(key)
            return
        wish = _earlier(self._due.get(key), (due_s, routine))
        if wish != self._due.get(key):
            self._due[key] = wish
            self._sequence += 1
            heapq.heappush(self._heap, (wish[0], self._sequence, key))
            self._compact()

    def _lane_of(self, key: K) -> int | None:
        return 0 if key in self._ready[0] else 1 if key in self._ready[1] else None

    def _compact(self) -> None:
        """Wishes that were overtaken stay in the heap until they come up; they must not pile up."""
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(due, n, key) for n, (key, (due, _)) in enumerate(self._due.items(), start=1)]
            self._sequence = len(self._heap)
            heapq.heapify(self._heap)

    def take(self, now_s: float) -> K | None:
        """The next key that is due, now in work until `done` or `failed` is called; None if there is none."""
        self._promote(now_s)
        self._turn += 1
        order = (1, 0) if self._turn % _ROUTINE_TURN == 0 else (0, 1)
        for lane in order:
            if self._ready[lane]:
                key, _ = self._ready[lane].popitem(last=False)
                self._active[key] = None
                return key
        return None

    def _promote(self, now_s: float) -> None:
        while self._heap and self._heap[0][0] <= now_s:
            due_s, _, key = heapq.heappop(self._heap)
            wish = self._due.get(key)
            if wish is not None and wish[0] == due_s:
                del self._due[key]
                self._ready[1 if wish[1] else 0][key] = due_s

    def next_due_s(self, now_s: float) -> float | None:
        """When the next key becomes due (at most `now_s` if one is); None if nothing is wished for."""
        self._promote(now_s)
        if self._ready[0] or self._ready[1]:
            return now_s
        while self._heap and self._due.get(self._heap[0][2], (None,))[0] != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def done(self, key: K, now_s: float, *, again_in_s: float | None = None) -> None:
        """`key` was looked at with success; `again_in_s` asks for another look."""
        self._failing.pop(key, None)
        touched = self._active.pop(key)
        if touched is not None:
            self._schedule(key, touched[0], routine=touched[1])
        if again_in_s is not None:
            self._schedule(key, now_s + again_in_s, routine=True)

    def failed(self, key: K, now_s: float) -> float:
        """`key` could not be looked at; it comes again after the returned number of seconds."""
        times = self._failing[key].times + 1 if key in self._failing else 1
        self._failing[key] = _Failing(times, now_s + MIN_BACKOFF_S)
        self.retries += 1
        most_s = min(MAX_BACKOFF_S, MIN_BACKOFF_S * float(2 ** min(times, _MAX_DOUBLINGS)))
        delay_s = MIN_BACKOFF_S + self.random() * (most_s - MIN_BACKOFF_S)
        touched = self._active.pop(key)
        if touched is not None:
            delay_s = min(delay_s, max(touched[0] - now_s, MIN_BACKOFF_S))
        self._schedule(key, now_s + delay_s, routine=True)
        return delay_s

    def forget(self, key: K) -> None:
        """`key` is gone for good: its backoff and its wishes end. Called while it is in work."""
        self._failing.pop(key, None)
        touched = self._active.pop(key)
        if touched is not None:
            self._schedule(key, touched[0], routine=touched[1])

    def depth(self, now_s: float) -> int:
        """How many keys are due and wait for a worker."""
        self._promote(now_s)
        return len(self._ready[0]) + len(self._ready[1])

    def oldest_age_s(self, now_s: float) -> float:
        """For how long the longest waiting key has been due."""
        self._promote(now_s)
        due = [next(iter(lane.values())) for lane in self._ready if lane]
        return max(0.0, now_s - min(due)) if due else 0.0

    def __contains__(self, key: K) -> bool:
        return key in self._due or key in self._active or self._lane_of(key) is not None

    def __len__(self) -> int:
        return len(self._due) + len(self._active) + len(self._ready[0]) + len(self._ready[1])


def _earlier(one: tuple[float, bool] | None, other: tuple[float, bool]) -> tuple[float, bool]:
    """The earlier time; routine only if both wishes are."""
    return other if one is None else (min(one[0], other[0]), one[1] and other[1])
