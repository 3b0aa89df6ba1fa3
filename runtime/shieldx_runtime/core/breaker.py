"""A circuit breaker: what has failed again and again is left alone for a moment, then tried by one call at a time.

closed: calls go through, and failures in a row are counted. open: calls are refused at once. half-open: one call at a
time goes through as a probe; its success closes the breaker, its failure opens it again.
"""

import random
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from shieldx_runtime.core import log

_PROBE_PATIENCE_S: Final = 10.0
"""After which a probe that never came back no longer keeps others from trying."""
_logger = log.get(__name__)


class State(IntEnum):
    """As `credits_circuit_breaker_state` tells it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Opens after `threshold` failures in a row, for `open_s` with a jitter of a fifth. For one thread."""

    def __init__(
        self, name: str, *, threshold: int, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._threshold = threshold
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._probe_since: float | None = None

    @property
    def state(self) -> State:
        if self._open_until is None:
            return State.CLOSED
        return State.OPEN if self._clock() < self._open_until else State.HALF_OPEN

    def admit(self) -> bool:
        """Whether a call may be made now. Who is admitted says afterwards how it ended."""
        state = self.state
        if state is State.HALF_OPEN:
            now = self._clock()
            if self._probe_since is not None and now - self._probe_since < _PROBE_PATIENCE_S:
                return False
            self._probe_since = now
        return state is not State.OPEN

    def succeeded(self) -> None:
        if self._open_until is not None:
            _logger.info("circuit breaker closed", breaker=self.name)
        self.reset()

    def failed(self) -> None:
        self._failures += 1
        self._probe_since = None
        if self._failures >= self._threshold:
            if self._open_until is None:
                _logger.warning("circuit breaker opened", breaker=self.name, failures=self._failures)
            # jitter, so that replicas do not try in step
            self._open_until = self._clock() + self._open_s * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def given_up(self) -> None:
        """The caller waited no longer, which says nothing: another may try."""
        self._probe_since = None

    def reset(self) -> None:
        """Closes it, whatever it has seen."""
        self._failures = 0
        self._open_until = None
        self._probe_since = None
