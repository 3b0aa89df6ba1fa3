"""What an unset field of a BackupPolicy, a Backup and a Restore means. See `defaults` for why this is in no schema."""

from typing import Any, Final

from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.backup import BackupSpec
from shieldx_operator.api.backupparts import Destination, Encryption, Stream
from shieldx_operator.api.backuppolicy import BackupPolicySpec
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import Scheduling
from shieldx_operator.api.defaults import EffectiveResources, filled
from shieldx_operator.api.restore import RestoreSource, RestoreSpec, RestoreTarget

_RUN: Final[dict[str, Any]] = {
    "deadlineSeconds": 21_600,
    "image": {},
    "resources": {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "2000m", "memory": "1Gi"},
    },
    "scheduling": {},
}
BACKUP_POLICY: Final[dict[str, Any]] = {
    "timeZone": "Etc/UTC",
    "database": {"schedule": "0 */6 * * *", "enabled": True},
    "cache": {"schedule": "0 * * * *", "enabled": True},
    "audit": {"enabled": True},
    "drill": {"schedule": "30 3 * * *", "enabled": True, "scratchSize": "10Gi"},
    "retention": {"days": 30, "auditDays": 365},
    "objectives": {"rpoSeconds": 21_600, "rtoSeconds": 900},
    "history": {"succeeded": 3, "failed": 3},
    **_RUN,
    "suspend": False,
}
BACKUP: Final[dict[str, Any]] = {"stream": "database"}
RESTORE: Final[dict[str, Any]] = {"source": {"replay": True}, "deadlineSeconds": 3600, "scratchSize": "10Gi"}
_FROM_THE_COPY: Final = frozenset({"version", "image", "resources", "scheduling"})
"""Fields of a run that a Backup takes from its policy, and a Restore from its copy, where they are unset."""


class EffectiveRun(Model):
    """What every pod that makes, proves or restores copies is made by."""

    service_name: str
    destination: Destination
    encryption: Encryption
    deadline_seconds: int
    version: str | None = None
    image: Image
    resources: EffectiveResources
    scheduling: Scheduling


class EffectiveStream(Model):
    schedule: str
    enabled: bool


class EffectiveAudit(Model):
    enabled: bool


class EffectiveDrill(EffectiveStream):
    """`image` None is the image that the operator was installed with."""

    image: str | None = None
    scratch_size: str


class EffectiveRetention(Model):
    days: int
    audit_days: int


class EffectiveObjectives(Model):
    rpo_seconds: int
    rto_seconds: int


class EffectiveHistory(Model):
    succeeded: int
    failed: int


class EffectiveBackupPolicy(EffectiveRun):
    """A BackupPolicy's spec with every default filled in."""

    time_zone: str
    database: EffectiveStream
    cache: EffectiveStream
    audit: EffectiveAudit
    drill: EffectiveDrill
    retention: EffectiveRetention
    objectives: EffectiveObjectives
    history: EffectiveHistory
    suspend: bool

    def stream(self, stream: Stream) -> EffectiveStream:
        return self.database if stream == "database" else self.cache


class EffectiveBackup(EffectiveRun):
    """What a Backup is made by. `policy` None: an on-demand copy that names everything itself."""

    stream: Stream
    policy: str | None = None


class EffectiveRestore(EffectiveRun):
    """What a Restore is done by. `service_name` is whose copy it is; `backup_id` None: the newest verified one."""

    source: RestoreSource
    target: RestoreTarget
    backup_id: str | None = None
    scratch_size: str


def effective_policy(spec: BackupPolicySpec) -> EffectiveBackupPolicy:
    """What the operator holds true for a BackupPolicy."""
    whole = filled(spec.to_json(), BACKUP_POLICY)
    return EffectiveBackupPolicy.model_validate({**_without(whole, "serviceRef"), "serviceName": spec.service_ref.name})


def effective_backup(spec: BackupSpec, policy: EffectiveBackupPolicy | None) -> EffectiveBackup | None:
    """What a Backup is made by; None while the policy that it names is not there."""
    said = spec.to_json()
    name = spec.policy_ref.name if spec.policy_ref else None
    own = _without(said, "policyRef", "serviceRef", "scheduledAt")
    if name is None:
        service = {"serviceName": spec.service_ref.name} if spec.service_ref else {}
        return EffectiveBackup.model_validate({**filled(own, {**_RUN, **BACKUP}), **service})
    if policy is None:
        return None
    base = {field: value for field, value in policy.to_json().items() if field in _RUN_FIELDS}
    return EffectiveBackup.model_validate({**filled(own, {**base, **BACKUP}), "policy": name})


def effective_restore(spec: RestoreSpec, copy: EffectiveRun, backup_id: str | None) -> EffectiveRestore:
    """What a Restore of a copy is done by. `copy` is the Backup or the policy that it names."""
    said = filled(_without(spec.to_json(), "confirm"), RESTORE)
    base = copy.to_json()
    inherited = {name: value for name, value in base.items() if name in _FROM_THE_COPY}
    where = {field: base[field] for field in ("serviceName", "destination", "encryption")}
    whole = {**filled(said, inherited), **where}
    if backup_id is not None:
        whole["backupID"] = backup_id
    return EffectiveRestore.model_validate(whole)


def _without(tree: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {field: value for field, value in tree.items() if field not in fields}


_RUN_FIELDS: Final = frozenset(field.alias or name for name, field in EffectiveRun.model_fields.items())
