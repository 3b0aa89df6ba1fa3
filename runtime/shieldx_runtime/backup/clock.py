"""Time as the pipeline uses it: what a person reads, how long a run may take, how long to wait between tries."""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from shieldx_runtime.backup.errors import ConflictError, DeadlineError, DestinationError

_ID_TIME: Final = "%Y%m%dT%H%M%SZ"
T = TypeVar("T")


def now() -> datetime:
    return datetime.now(UTC)


def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """Raises: ValueError, it is no RFC 3339 time with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone: end it with Z")
    return moment.astimezone(UTC)


def new_id(moment: datetime) -> str:
    """An id that sorts by time and is never given twice."""
    return f"{moment.strftime(_ID_TIME)}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a run is over, on a clock that nobody sets. `limit_s` is in seconds."""

    limit_s: float
    _began_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def remaining_s(self) -> float:
        return max(0.0, self.limit_s - self.elapsed_s)

    def check(self) -> None:
        """Raises: DeadlineError."""
        if self.remaining_s <= 0:
            raise DeadlineError(
                f"not finished within {self.limit_s:g} s: find out what is slow, or set a longer deadline"
            )


def patiently(call: Callable[[], T], deadline: Deadline, *, tries: int = 3, pause_s: float = 2.0) -> T:
    """Calls again after a fault of the destination, with full jitter, at most `tries` times and before the deadline.

    Raises: the last DestinationError, or at once whatever else the call raises.
    """
    for attempt in range(1, tries):
        deadline.check()
        try:
            return call()
        except ConflictError:
            raise
        except DestinationError:
            time.sleep(min(random.uniform(0, pause_s * 2**attempt), deadline.remaining_s))  # noqa: S311 - jitter
    deadline.check()
    return call()
