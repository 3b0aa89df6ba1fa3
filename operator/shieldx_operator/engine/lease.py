"""Who leads, decided by one Lease (coordination.k8s.io/v1). The rules are pure; `leader.py` does the calls.

Clocks of different machines are never compared: another's lease has run out when it has not changed for its whole
duration as measured by this process's own monotonic clock (the rule of client-go's leader election).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from shieldx_operator.engine.types import Obj, Resource

LEASES: Final = Resource("coordination.k8s.io", "v1", "Lease", "leases")
LEASE_S: Final = 15.0
RENEW_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 1.0
"""How often a process that waits reads the lease: a dead leader is replaced within LEASE_S and two looks."""
RENEW_DEADLINE_S: Final = 10.0
"""A leader that could not renew for this long gives up, before another may take over."""
FENCE_MARGIN_S: Final = 2.0

Step = Literal["create", "renew", "take", "wait"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A state of the lease, and since when (own monotonic seconds) it has been seen unchanged."""

    holder: str
    renew_time: str
    since_s: float


def sight(lease: Obj | None, before: Sighting | None, now_s: float) -> Sighting:
    """What is known of the lease after reading it."""
    spec = (lease or {}).get("spec") or {}
    holder, renew_time = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
    if before is not None and (before.holder, before.renew_time) == (holder, renew_time):
        return before
    return Sighting(holder, renew_time, now_s)


def next_step(lease: Obj | None, seen: Sighting, me: str, now_s: float) -> Step:
    if lease is None:
        return "create"
    if seen.holder == me:
        return "renew"
    duration_s = float((lease.get("spec") or {}).get("leaseDurationSeconds") or LEASE_S)
    if not seen.holder or now_s - seen.since_s > duration_s:
        return "take"
    return "wait"


def held(lease: Obj, me: str, now: datetime) -> Obj:
    """The lease as it is written to hold it. Its resourceVersion is kept: only one of two takers succeeds."""
    spec = dict(lease.get("spec") or {})
    if spec.get("holderIdentity") != me:
        spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        spec["acquireTime"] = _micro_time(now)
    spec |= {"holderIdentity": me, "leaseDurationSeconds": int(LEASE_S), "renewTime": _micro_time(now)}
    return {**lease, "spec": spec}


def released(lease: Obj, now: datetime) -> Obj:
    """The lease as it is written to let another take it at once."""
    spec = {**(lease.get("spec") or {}), "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time(now)}
    return {**lease, "spec": spec}


def new(namespace: str, name: str, me: str, now: datetime) -> Obj:
    body = {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"namespace": namespace, "name": name},
    }
    return held(body, me, now)


def must_give_up(last_renewed_s: float, now_s: float) -> bool:
    return now_s - last_renewed_s > RENEW_DEADLINE_S


def may_write(last_renewed_s: float, now_s: float) -> bool:
    """Whether nobody else can have taken the lease yet."""
    return now_s - last_renewed_s < LEASE_S - FENCE_MARGIN_S


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
