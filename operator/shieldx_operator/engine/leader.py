"""Holds the Lease, or waits for it. Leadership is won once; whoever loses it ends its process."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

import structlog

from shieldx_operator.engine import lease
from shieldx_operator.engine.client import ApiError, Client, FencedError
from shieldx_operator.engine.types import Obj, Ref

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Elector:
    """Elects one of all processes that use the same Lease. `client` must be its own: nothing may delay a renewal."""

    client: Client
    ref: Ref
    me: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    leading: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    ticked_s: float = field(init=False)
    """When the loop last ran, for the liveness probe."""
    answered_s: float | None = None
    """When the API server last answered."""
    _lease: Obj | None = None
    _seen: lease.Sighting | None = None
    _renewed_s: float = 0.0

    def __post_init__(self) -> None:
        self.ticked_s = self.monotonic()

    def fence(self) -> None:
        """Raises FencedError if another process may lead by now."""
        if not self.leading.is_set() or not lease.may_write(self._renewed_s, self.monotonic()):
            raise FencedError("the lease may have run out; nothing is written")

    async def run(self) -> None:
        """Runs until leadership is lost (`lost` is set then) or the task is cancelled."""
        while True:
            self.ticked_s = self.monotonic()
            try:
                await self._step()
                self.answered_s = self.monotonic()
            except ApiError as error:
                self.answered_s = self.monotonic() if error.answered else self.answered_s
                self._lease = None
                if error.status != HTTPStatus.CONFLICT:
                    _log.warning("lease not renewed", lease=str(self.ref), reason=error.reason, said=error.message)
            if self.leading.is_set() and self._is_lost():
                _log.error("leadership lost", lease=str(self.ref), holder=self._seen.holder if self._seen else "")
                self.lost.set()
                return
            await asyncio.sleep(lease.RENEW_EVERY_S if self.leading.is_set() else lease.LOOK_EVERY_S)

    def _is_lost(self) -> bool:
        other = self._seen is not None and self._seen.holder != self.me
        return other or lease.must_give_up(self._renewed_s, self.monotonic())

    async def _step(self) -> None:
        if self._lease is None:
            self._lease = await self.client.get(self.ref)
        self._seen = lease.sight(self._lease, self._seen, self.monotonic())
        step = lease.next_step(self._lease, self._seen, self.me, self.monotonic())
        asked_s = self.monotonic()  # before the call: the lease is never believed longer than it is
        if step == "wait":
            self._lease = None
            return
        if step == "create" or self._lease is None:
            body = lease.new(self.ref.namespace, self.ref.name, self.me, self.clock())
            self._lease = await self.client.create(self.ref.resource, self.ref.namespace, body)
        else:
            self._lease = await self.client.replace(self.ref, lease.held(self._lease, self.me, self.clock()))
        self._renewed_s = asked_s
        self._seen = lease.sight(self._lease, self._seen, self.monotonic())
        if not self.leading.is_set():
            _log.info("leads", lease=str(self.ref), me=self.me)
            self.leading.set()

    async def release(self) -> None:
        """Let another take over at once. Called when nothing is written any more."""
        if not self.leading.is_set() or self._lease is None:
            return
        try:
            await self.client.replace(self.ref, lease.released(self._lease, self.clock()))
            _log.info("lease released", lease=str(self.ref))
        except ApiError as error:
            _log.warning("lease not released; it runs out", reason=error.reason, said=error.message)
