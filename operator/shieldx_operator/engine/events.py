"""Transitions told as Events (events.k8s.io/v1), at a bounded rate for each object.

Events are for people: one that cannot be written is counted and left; nothing waits for it.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from shieldx_operator.engine.client import NAMESPACE_TERMINATING, ApiError, Client
from shieldx_operator.engine.conditions import Transition
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.types import Obj, Resource

EVENTS: Final = Resource("events.k8s.io", "v1", "Event", "events")
BURST: Final = 10.0
REFILL_PER_S: Final = 1 / 30
_MAX_BUCKETS: Final = 10_000
_MAX_NOTE_CHARS: Final = 1000
_MAX_NAME_CHARS: Final = 200
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_s: float
    left_out: int = 0


@dataclass(slots=True)
class RateLimit:
    """A token bucket for each object: a flapping one must not fill the cluster's events."""

    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def allow(self, uid: str, now_s: float) -> int | None:
        """None if the event must be left out; else how many were left out before it."""
        bucket = self._buckets.pop(uid, None) or _Bucket(BURST, now_s)
        self._buckets[uid] = bucket
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(BURST, bucket.tokens + (now_s - bucket.filled_s) * REFILL_PER_S)
        bucket.filled_s = now_s
        if bucket.tokens < 1:
            bucket.left_out += 1
            return None
        bucket.tokens -= 1
        left_out, bucket.left_out = bucket.left_out, 0
        return left_out


@dataclass(slots=True)
class Recorder:
    """Writes events. `instance` names this process."""

    client: Client
    metrics: Metrics
    instance: str
    controller: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    limit: RateLimit = field(default_factory=RateLimit)

    async def tell(self, parent: Obj, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            left_out = self.limit.allow(parent["metadata"]["uid"], time.monotonic())
            if left_out is None:
                self.metrics.events.labels("limited").inc()
                continue
            body = event(parent, transition, self.clock(), left_out=left_out)
            body |= {"reportingController": self.controller, "reportingInstance": self.instance}
            try:
                await self.client.create(EVENTS, body["metadata"]["namespace"], body)
                self.metrics.events.labels("written").inc()
            except ApiError as error:
                self.metrics.events.labels("failed").inc()
                log = _log.debug if error.reason == NAMESPACE_TERMINATING else _log.warning
                log("event not written", reason=error.reason, said=error.message)


def event(parent: Obj, transition: Transition, now: datetime, *, left_out: int) -> Obj:
    """The Event that tells a transition; `left_out` events before it were not written."""
    metadata = parent["metadata"]
    namespace = metadata.get("namespace") or "default"
    note = f"{transition.type} is {transition.status}" + (f": {transition.message}" if transition.message else "")
    if len(note) > _MAX_NOTE_CHARS:
        note = note[: _MAX_NOTE_CHARS - 4] + " ..."
    if left_out:
        note += f" ({left_out} earlier not shown)"
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"namespace": namespace, "name": f"{metadata['name'][:_MAX_NAME_CHARS]}.{secrets.token_hex(8)}"},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "action": "Reconcile",
        "reason": transition.reason,
        "type": "Warning" if transition.worse else "Normal",
        "note": note,
        "regarding": {
            "apiVersion": parent["apiVersion"],
            "kind": parent["kind"],
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
