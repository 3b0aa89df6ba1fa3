"""One run at a time on a stream: a lease that is an object of the destination.

Its holder renews it; each renewal changes the object. Whoever wants it watches: an object that has not changed for
the lease's whole time, on the watcher's own monotonic clock, belongs to a dead run and is taken by a conditional put.
No clock is compared with another's, so that one that jumps neither frees a living lease nor keeps a dead one.
"""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

from shieldx_runtime.backup.clock import Deadline, now, text_of
from shieldx_runtime.backup.destination import Condition, Destination
from shieldx_runtime.backup.errors import BusyError, ConflictError, DestinationError, LeaseLostError, NotFoundError
from shieldx_runtime.core import log

TTL_S: Final = 60.0
_RENEWALS: Final = 4
"""In the time of a lease."""
_MARGIN: Final = 0.8
"""Share of its time after which a holder that could not renew stops by itself, before anyone takes over."""
_logger = log.get(__name__)


class Lease:
    """Held between `acquire` and `release`. `check` is cheap: call it before whatever must not be done by two."""

    def __init__(self, destination: Destination, key: str, *, ttl_s: float = TTL_S) -> None:
        self._destination = destination
        self._key = key
        self._ttl_s = ttl_s
        self._owner = f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self._etag: str | None = None
        self._renewed_s = 0.0
        self._count = 0
        self._lost = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, deadline: Deadline) -> None:
        """Takes it, after the dead if need be: that takes the lease's time.

        Raises:
            BusyError: somebody alive holds it.
        """
        seen: str | None = None
        unchanged_since = 0.0
        while True:
            deadline.check()
            holder, etag = self._look()
            if holder is None:
                break
            if seen is None:
                seen, unchanged_since = etag, time.monotonic()
                _logger.info("lease is held, watching whether its holder is alive", lease=self._key, holder=holder)
            elif etag != seen:
                raise BusyError(f"{self._key} is held by {holder}, which is at work: wait for it to end")
            elif time.monotonic() - unchanged_since > self._ttl_s:
                _logger.warning("its holder is dead, taking over", lease=self._key, holder=holder)
                break
            time.sleep(min(self._ttl_s / _RENEWALS, 5.0, deadline.remaining_s))
        try:
            self._put(Condition(absent=True) if etag is None else Condition(etag=etag), self._owner)
        except ConflictError as error:
            raise BusyError(f"{self._key} was taken by another run at this moment: wait for it to end") from error
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(self._ttl_s)
        if not self._lost and self._etag:
            try:
                self._put(Condition(etag=self._etag), None)
            except DestinationError as error:
                _logger.warning("lease not given back, it will run out", lease=self._key, problem=str(error))

    def check(self) -> None:
        """Raises: LeaseLostError."""
        silent_s = time.monotonic() - self._renewed_s
        if not self._lost and silent_s > self._ttl_s * _MARGIN:
            self._lost = f"it could not be renewed for {silent_s:.0f} s"
        if self._lost:
            raise LeaseLostError(f"{self._key}: the lease of this run is lost: {self._lost}; the next run begins anew")

    def _keep(self) -> None:
        while not self._ended.wait(self._ttl_s / _RENEWALS):
            try:
                self._put(Condition(etag=self._etag), self._owner)
            except ConflictError:
                self._lost = "another run has taken it over"
                return
            except DestinationError as error:
                _logger.warning("lease not renewed", lease=self._key, problem=str(error))

    def _look(self) -> tuple[str | None, str | None]:
        """Holder and etag; no holder: it is free."""
        try:
            data, etag = self._destination.get(self._key)
        except NotFoundError:
            return None, None
        try:
            holder = json.loads(data)["holder"]
        except (ValueError, KeyError, TypeError):
            holder = "somebody unknown"
        return holder, etag

    def _put(self, condition: Condition, holder: str | None) -> None:
        self._count += 1
        began_s = time.monotonic()
        record = {"holder": holder, "renewals": self._count, "at": text_of(now())}
        self._etag = self._destination.put(self._key, json.dumps(record).encode(), only_if=condition)
        # from the moment that it was asked for: the answer may be late
        self._renewed_s = began_s


@contextlib.contextmanager
def held(destination: Destination, key: str, deadline: Deadline, *, ttl_s: float = TTL_S) -> Iterator[Lease]:
    """Raises: BusyError."""
    lease = Lease(destination, key, ttl_s=ttl_s)
    lease.acquire(deadline)
    try:
        yield lease
    finally:
        lease.release()
