"""A Restore as the other functions of this kind want to see it.

What it is done by (`effective`) and the ways to the target's stores are found once and then stand in the status.
"""

from dataclasses import dataclass
from typing import Final

from shieldx_contract import API_GROUP
from shieldx_operator.api.backupdefaults import (
    EffectiveBackup,
    EffectiveRestore,
    EffectiveRun,
    effective_policy,
    effective_restore,
)
from shieldx_operator.api.backupparts import Stores
from shieldx_operator.api.backuppolicy import BackupPolicySpec
from shieldx_operator.api.restore import RestoreSpec
from shieldx_operator.blocks import backup, stores
from shieldx_operator.blocks.backup import Work
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.resources import JOB
from shieldx_operator.blocks.spec import parse
from shieldx_operator.engine.types import Obj, Observation, Ref, Resource
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "Restore", "restores")
BACKUP_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "Backup", "backups")
POLICY_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "BackupPolicy", "backuppolicies")
COMPONENT: Final = "restore"
ROLLBACK: Final = "rollback"
ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class View:
    """What one Restore asks for. `effective` and `stores` are None while they are not known."""

    service: Service
    spec: RestoreSpec
    effective: EffectiveRestore | None
    stores: Stores | None
    told: Obj
    inventory: frozenset[str]
    """Names of the Jobs that were announced: one that was may have run."""
    settings: OperatorSettings

    @property
    def ended(self) -> bool:
        return self.told.get("phase") in ENDED

    @property
    def in_place(self) -> bool:
        return self.spec.target.mode == "InPlace"

    @property
    def job(self) -> Ref:
        return Ref(JOB, self.service.namespace, f"{self.service.name}-{COMPONENT}")

    @property
    def rollback(self) -> Ref:
        return Ref(JOB, self.service.namespace, f"{self.service.name}-{ROLLBACK}")

    @property
    def target(self) -> Ref:
        return Ref(stores.CREDITS_RESOURCE, self.service.namespace, self.spec.target.name)

    @property
    def source(self) -> Ref:
        """The object that says where the copy is."""
        asked = self.spec.source
        if asked.backup_ref:
            return Ref(BACKUP_RESOURCE, self.service.namespace, asked.backup_ref.name)
        return Ref(POLICY_RESOURCE, self.service.namespace, asked.policy_ref.name if asked.policy_ref else "")

    @property
    def reaches(self) -> tuple[str, ...]:
        """In place the cache is emptied, too: cached balances would be newer than the restored ones."""
        return ("database", "cache") if self.in_place else ("database",)

    @property
    def work(self) -> Work | None:
        if self.effective is None or self.stores is None:
            return None
        repository, _, version = self.settings.runtime_image.rpartition(":")
        image = self.effective.image
        return Work(
            service=self.service,
            component=COMPONENT,
            run=self.effective,
            stores=self.stores,
            target=self.spec.target.name,
            image=f"{image.repository or repository}:{self.effective.version or version}",
            pull_policy=image.pull_policy or self.settings.image_pull_policy,
            reaches=self.reaches,
            scratch_size=self.effective.scratch_size,
        )


def view(parent: Obj, settings: OperatorSettings) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    told: Obj = parent.get("status") or {}
    return View(
        service=Service(meta["namespace"], meta["name"], backup.APP),
        spec=parse(RestoreSpec.from_json, parent),
        effective=EffectiveRestore.from_json(told["effective"]) if told.get("effective") else None,
        stores=stores.told(told),
        told=told,
        inventory=frozenset(e["name"] for e in told.get("inventory") or () if e["kind"] == JOB.kind),
        settings=settings,
    )


def resolved(v: View, seen: Observation) -> EffectiveRestore | tuple[str, str]:
    """What it is done by, of the Backup or the policy that it names; or reason and message of why that is not known."""
    if v.effective is not None:
        return v.effective
    found = seen.objects.get(v.source)
    if found is None:
        return "CopyNotFound", f"spec.source: {v.source} does not exist; name one that does in another Restore"
    by = _by_backup if v.source.resource == BACKUP_RESOURCE else _by_policy
    chosen = by(v, found)
    if isinstance(chosen, tuple):
        return chosen
    if v.in_place and chosen.service_name != v.spec.target.name:
        return "WrongTarget", (
            f"spec.target: the copy is of {chosen.service_name!r}, and only that service is restored in place; "
            f"for {v.spec.target.name!r} use mode NewService"
        )
    if not v.in_place and chosen.service_name == v.spec.target.name:
        return "WrongTarget", f"spec.target: {v.spec.target.name!r} is the service of the copy; use mode InPlace"
    return chosen


def _by_backup(v: View, found: Obj) -> EffectiveRestore | tuple[str, str]:
    status = found.get("status") or {}
    if status.get("phase") != "Succeeded" or not status.get("backupID"):
        return "CopyNotUsable", f"spec.source: {v.source} is {status.get('phase', 'Pending')}, not Succeeded"
    copy = EffectiveBackup.from_json(status["effective"])
    if copy.stream != "database":
        return "CopyNotUsable", f"spec.source: {v.source} is of the {copy.stream}; name one of the database"
    return effective_restore(v.spec, copy, status["backupID"])


def _by_policy(v: View, found: Obj) -> EffectiveRestore:
    copy: EffectiveRun = effective_policy(parse(BackupPolicySpec.from_json, found))
    version = (found.get("status") or {}).get("version")
    if copy.version is None and version:
        copy = copy.model_copy(update={"version": version})
    return effective_restore(v.spec, copy, v.spec.source.backup_id)
