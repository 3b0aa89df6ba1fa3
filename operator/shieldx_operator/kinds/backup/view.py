"""A Backup as the other functions of this kind want to see it.

What it is made by (`effective`) and the ways to the stores are found at the first look and then stand in the status:
a policy that changes later, or goes, changes nothing about a copy that is being made.
"""

from dataclasses import dataclass
from typing import Final

from shieldx_contract import API_GROUP
from shieldx_operator.api.backup import BackupSpec
from shieldx_operator.api.backupdefaults import EffectiveBackup, effective_backup, effective_policy
from shieldx_operator.api.backupparts import Stores
from shieldx_operator.api.backuppolicy import BackupPolicySpec
from shieldx_operator.blocks import backup, stores
from shieldx_operator.blocks.backup import Work
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.resources import JOB
from shieldx_operator.blocks.spec import parse
from shieldx_operator.engine.types import Obj, Observation, Ref, Resource
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "Backup", "backups")
POLICY_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "BackupPolicy", "backuppolicies")
RUN: Final = "run"
ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class View:
    """What one Backup asks for. `effective` and `stores` are None while they are not known."""

    service: Service
    spec: BackupSpec
    effective: EffectiveBackup | None
    stores: Stores | None
    told: Obj
    default_image: str
    default_pull_policy: str

    @property
    def ended(self) -> bool:
        return self.told.get("phase") in ENDED

    @property
    def job(self) -> Ref:
        return Ref(JOB, self.service.namespace, f"{self.service.name}-{RUN}")

    @property
    def policy(self) -> Ref | None:
        named = self.spec.policy_ref
        return Ref(POLICY_RESOURCE, self.service.namespace, named.name) if named else None

    @property
    def credits_name(self) -> str | None:
        """Name of the CreditsService, where it is known already."""
        if self.effective:
            return self.effective.service_name
        return self.spec.service_ref.name if self.spec.service_ref else None

    @property
    def reaches(self) -> tuple[str, ...]:
        return (self.effective.stream,) if self.effective else ()

    @property
    def work(self) -> Work | None:
        """The run, once it is known what it is made of."""
        if self.effective is None or self.stores is None:
            return None
        repository, _, version = self.default_image.rpartition(":")
        return Work(
            service=self.service,
            component=RUN,
            run=self.effective,
            stores=self.stores,
            target=self.effective.service_name,
            image=f"{self.effective.image.repository or repository}:{self.effective.version or version}",
            pull_policy=self.effective.image.pull_policy or self.default_pull_policy,
            reaches=self.reaches,
        )


def view(parent: Obj, settings: OperatorSettings) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    spec = parse(BackupSpec.from_json, parent)
    told: Obj = parent.get("status") or {}
    found = EffectiveBackup.from_json(told["effective"]) if told.get("effective") else None
    if found is None and spec.policy_ref is None:
        found = effective_backup(spec, None)
    return View(
        service=Service(meta["namespace"], meta["name"], backup.APP),
        spec=spec,
        effective=found,
        stores=stores.told(told),
        told=told,
        default_image=settings.runtime_image,
        default_pull_policy=settings.image_pull_policy,
    )


def resolved(v: View, seen: Observation) -> EffectiveBackup | None:
    """What it is made by, of the policy where that must say it; None while there is none of that name."""
    if v.effective is not None or v.policy is None:
        return v.effective
    policy = seen.objects.get(v.policy)
    if policy is None:
        return None
    spec = parse(BackupPolicySpec.from_json, policy)
    chosen = effective_policy(spec)
    version = (policy.get("status") or {}).get("version")
    if chosen.version is None and version:
        chosen = chosen.model_copy(update={"version": version})
    return effective_backup(v.spec, chosen)
