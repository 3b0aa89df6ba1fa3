"""A BackupPolicy as the other functions of this kind want to see it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from shieldx_contract import API_GROUP
from shieldx_operator.api.backupdefaults import EffectiveBackupPolicy, effective_policy
from shieldx_operator.api.backupparts import Stores, Stream
from shieldx_operator.api.backuppolicy import BackupPolicySpec
from shieldx_operator.blocks import backup, stores
from shieldx_operator.blocks.backup import Work
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.resources import DEPLOYMENT, JOB, SECRET
from shieldx_operator.blocks.spec import parse
from shieldx_operator.engine.types import Obj, Observation, Ref, Resource
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "BackupPolicy", "backuppolicies")
BACKUP_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "Backup", "backups")
STREAMS: Final[tuple[Stream, ...]] = ("database", "cache")
DRILL: Final = "drill"
PRUNE: Final = "prune"
SHIP: Final = "ship-audit"
Task: TypeAlias = Literal["drill", "prune"]
Group: TypeAlias = Literal["drill", "prune", "ship-audit"]
TASKS: Final[tuple[Task, ...]] = ("drill", "prune")
_REACHES: Final[dict[str, tuple[str, ...]]] = {"drill": (), "prune": (), "ship-audit": ("database",)}


@dataclass(frozen=True, slots=True)
class View:
    """What one BackupPolicy asks for. `stores` is None while they are not known. `told` is its status."""

    service: Service
    uid: str
    created_at: datetime
    effective: EffectiveBackupPolicy
    stores: Stores | None
    told: Obj
    version: str
    settings: OperatorSettings

    @property
    def credits(self) -> Ref:
        return Ref(stores.CREDITS_RESOURCE, self.service.namespace, self.effective.service_name)

    @property
    def shipper(self) -> Ref:
        return Ref(DEPLOYMENT, self.service.namespace, f"{self.service.name}-{SHIP}")

    @property
    def scratch_secret(self) -> Ref:
        return Ref(SECRET, self.service.namespace, f"{self.service.name}-{DRILL}")

    def job(self, name: str) -> Ref:
        return Ref(JOB, self.service.namespace, name)

    def work(self, group: Group, ways: Stores) -> Work:
        """One group of the policy's own pods. `ways` are the stores as they were found."""
        image = self.effective.image
        repository = self.settings.runtime_image.rpartition(":")[0]
        return Work(
            service=self.service,
            component=group,
            run=self.effective,
            stores=ways,
            target=self.effective.service_name,
            image=f"{image.repository or repository}:{self.version}",
            pull_policy=image.pull_policy or self.settings.image_pull_policy,
            reaches=_REACHES[group],
            scratch_size=self.effective.drill.scratch_size if group == DRILL else "64Mi",
        )

    def told_of(self, part: str) -> Obj:
        found: Obj = self.told.get(part) or {}
        return found


def view(parent: Obj, settings: OperatorSettings) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    chosen = parse(lambda spec: effective_policy(BackupPolicySpec.from_json(spec)), parent)
    told: Obj = parent.get("status") or {}
    return View(
        service=Service(meta["namespace"], meta["name"], backup.APP),
        uid=meta.get("uid", ""),
        created_at=moment(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        effective=chosen,
        stores=stores.told(told),
        told=told,
        version=chosen.version or told.get("version") or settings.runtime_image.rpartition(":")[2],
        settings=settings,
    )


def ways(v: View, seen: Observation) -> Stores | None:
    """The service's stores: as it tells them now, or as it last told them."""
    return stores.found(seen.objects.get(v.credits)) or v.stores


def moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def text_of(when: datetime | None) -> str | None:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None
