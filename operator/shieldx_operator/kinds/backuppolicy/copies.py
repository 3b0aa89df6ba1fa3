"""What is known of a policy's copies: out of its Backup objects, and of what the status says of those that are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shieldx_operator.api.backupparts import Stream
from shieldx_operator.engine.types import Obj, Observation, Ref
from shieldx_operator.kinds.backuppolicy.view import BACKUP_RESOURCE, View, moment

ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Copy:
    """One Backup object. `mine`: this policy has made it, by schedule; others were made on demand."""

    name: str
    stream: Stream
    mine: bool
    scheduled_at: datetime | None
    phase: str
    taken_at: datetime | None
    completed_at: datetime | None
    verified_at: datetime | None
    size_bytes: int | None
    duration_s: float | None
    failure: Obj | None

    @property
    def ended(self) -> bool:
        return self.phase in ENDED


def of_policy(v: View, seen: Observation) -> list[Copy]:
    """All Backups of this policy, oldest end first; those that run come last."""
    found = [_copy(v, o) for o in seen.lists.get("backups", ()) if _names(o, v.service.name)]
    return sorted(found, key=lambda c: (not c.ended, c.completed_at or seen.now, c.name))


def _names(obj: Obj, policy: str) -> bool:
    going = "deletionTimestamp" in obj["metadata"]
    return not going and bool((obj["spec"].get("policyRef") or {}).get("name") == policy)


def _copy(v: View, obj: Obj) -> Copy:
    status = obj.get("status") or {}
    owners = obj["metadata"].get("ownerReferences") or ()
    return Copy(
        name=obj["metadata"]["name"],
        stream=obj["spec"].get("stream", "database"),
        mine=any(o.get("controller") and o.get("uid") == v.uid for o in owners),
        scheduled_at=moment(obj["spec"].get("scheduledAt")),
        phase=status.get("phase", "Pending"),
        taken_at=moment(status.get("takenAt")),
        completed_at=moment(status.get("completedAt")),
        verified_at=moment(status.get("verifiedAt")),
        size_bytes=status.get("sizeBytes"),
        duration_s=status.get("durationSeconds"),
        failure=status.get("failure"),
    )


def of_stream(copies: Sequence[Copy], stream: Stream) -> list[Copy]:
    return [c for c in copies if c.stream == stream]


def verified(copies: Sequence[Copy]) -> list[Copy]:
    """Those that were read back and found whole, by the moment whose state they hold."""
    found = [c for c in copies if c.phase == "Succeeded" and c.verified_at and c.taken_at]
    return sorted(found, key=lambda c: (c.taken_at or c.verified_at, c.name))


def outdated(v: View, copies: Sequence[Copy]) -> set[str]:
    """Names of this policy's objects beyond the history. It is a history of objects: their copies stay."""
    keep = {"Succeeded": v.effective.history.succeeded, "Failed": v.effective.history.failed}
    gone: set[str] = set()
    for stream in ("database", "cache"):
        for phase, count in keep.items():
            ended = [c for c in copies if c.mine and c.stream == stream and c.phase == phase]
            gone |= {c.name for c in ended[:-count]}
    return gone


def ref(v: View, name: str) -> Ref:
    return Ref(BACKUP_RESOURCE, v.service.namespace, name)
