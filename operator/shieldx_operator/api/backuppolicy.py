"""BackupPolicy: what of a CreditsService is copied where, when, kept how long, and how it is proved."""

from typing import Any

from pydantic import Field

from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.backupfields import Cron, TimeZone
from shieldx_operator.api.backupparts import CopyFailure, Destination, Encryption, Stores
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import CommonStatus, LocalObjectReference, Resources, Scheduling
from shieldx_operator.api.fields import ByteQuantity, ImageReference, Version


class StreamSchedule(Model):
    """When one stream is copied."""

    schedule: Cron | None = Field(default=None, description="When, in cron's five fields, in spec.timeZone.")
    enabled: bool | None = Field(default=None, description="False: it is not copied.")


class AuditShipping(Model):
    """The audit log, shipped all the time."""

    enabled: bool | None = Field(
        default=None,
        description="False: nothing is shipped between two dumps, and what is written after a dump is lost with the "
        "database.",
    )


class Drill(Model):
    """Restore drills: the newest verified copy, restored into a database of its own, proved and dropped."""

    schedule: Cron | None = Field(default=None, description="When, in cron's five fields, in spec.timeZone.")
    enabled: bool | None = Field(
        default=None, description="False: no copy is ever restored for a test, and RTO and RPO stay unmeasured."
    )
    image: ImageReference | None = Field(
        default=None,
        description="Image of the PostgreSQL that is restored into: of the service's version or newer. "
        "Unset: the image that the operator was installed with.",
    )
    scratch_size: ByteQuantity | None = Field(
        default=None, description="Room for that database and for one unpacked dump, each, on the node's disk."
    )


class Retention(Model):
    """How long copies are kept. The last two verified copies stay whatever their age."""

    days: int | None = Field(default=None, ge=1, le=3660, description="Days that copies of database and cache stay.")
    audit_days: int | None = Field(default=None, ge=1, le=3660, description="Days that the audit log stays.")


class Objectives(Model):
    """What a restore must reach; the condition ObjectivesMet compares it with what was measured."""

    rpo_seconds: int | None = Field(
        default=None, ge=1, le=31_536_000, description="Most that may be lost: the age of what a restore gives."
    )
    rto_seconds: int | None = Field(
        default=None, ge=1, le=31_536_000, description="Longest that a restore with its proof may take."
    )


class History(Model):
    """How many Backup objects of this policy stay. Deleting such an object deletes no copy."""

    succeeded: int | None = Field(default=None, ge=1, le=50, description="Those that succeeded, of each stream.")
    failed: int | None = Field(default=None, ge=1, le=50, description="Those that failed, of each stream.")


class BackupPolicySpec(Model):
    """What a BackupPolicy asks for."""

    service_ref: LocalObjectReference = Field(
        description="The CreditsService, in the same namespace, that is backed up: its database (which holds what a "
        "ShadowService keeps, too), its cache and its audit log. It cannot be changed later."
    )
    destination: Destination = Field(
        description="Where copies are kept: exactly one of s3 and persistentVolumeClaim. Copies are in a folder "
        "<namespace>.<service> there."
    )
    encryption: Encryption = Field(description="The keys that seal copies before they leave the pod.")
    time_zone: TimeZone | None = Field(default=None, description="Time zone of all schedules.")
    database: StreamSchedule | None = Field(default=None, description="When the database is dumped.")
    cache: StreamSchedule | None = Field(default=None, description="When the cache is copied.")
    audit: AuditShipping | None = Field(default=None, description="The audit log, shipped all the time.")
    drill: Drill | None = Field(default=None, description="When a copy is restored to prove it, and with what.")
    retention: Retention | None = Field(default=None, description="How long copies are kept.")
    objectives: Objectives | None = Field(default=None, description="What a restore must reach.")
    history: History | None = Field(default=None, description="How many Backup objects stay.")
    deadline_seconds: int | None = Field(
        default=None, ge=60, le=604_800, description="Seconds after which a run or a drill is given up."
    )
    version: Version | None = Field(
        default=None,
        description="Version of the runtime that makes and proves copies. Unset: the version that the operator was "
        "installed with when it first saw this object.",
    )
    image: Image | None = Field(default=None, description="Where the runtime's image comes from.")
    resources: Resources | None = Field(default=None, description="CPU and memory of each pod of a run or a drill.")
    scheduling: Scheduling | None = Field(default=None, description="Where the pods may run.")
    suspend: bool | None = Field(
        default=None,
        description="True: nothing new begins and nothing is shipped. What runs ends. A schedule that was missed "
        "runs once afterwards.",
    )


_TIME: dict[str, Any] = {"format": "date-time"}


class StreamStatus(Model):
    """What is known of one stream's copies."""

    last_schedule: str | None = Field(
        default=None, description="The due time that was taken up last.", json_schema_extra=_TIME
    )
    next_schedule: str | None = Field(default=None, description="The next due time.", json_schema_extra=_TIME)
    last_success: str | None = Field(
        default=None, description="When the newest copy was complete.", json_schema_extra=_TIME
    )
    last_verified: str | None = Field(
        default=None, description="When a copy was last read back and found whole.", json_schema_extra=_TIME
    )
    taken_at: str | None = Field(
        default=None, description="The moment whose state the newest verified copy holds.", json_schema_extra=_TIME
    )
    exposure_seconds: int | None = Field(
        default=None,
        ge=0,
        description="From the copy before the newest verified one to the completion of the newest: what could have "
        "been lost at worst.",
        json_schema_extra={"format": "int64"},
    )
    backup: str | None = Field(default=None, description="The Backup that is the newest verified copy.")
    size_bytes: int | None = Field(
        default=None, ge=0, description="Size of that copy, as it is stored.", json_schema_extra={"format": "int64"}
    )
    duration_seconds: float | None = Field(default=None, ge=0, description="How long that copy took to make.")
    failure: CopyFailure | None = Field(default=None, description="Why the last run failed, if it did.")


class TaskStatus(Model):
    """What is known of a task of the policy's own: a drill, or pruning."""

    last_schedule: str | None = Field(
        default=None, description="The due time that was taken up last.", json_schema_extra=_TIME
    )
    next_schedule: str | None = Field(default=None, description="The next due time.", json_schema_extra=_TIME)
    last_success: str | None = Field(default=None, description="When it last succeeded.", json_schema_extra=_TIME)
    last_run: str | None = Field(default=None, description="When it last ended.", json_schema_extra=_TIME)
    for_backup: str | None = Field(default=None, description="The copy that it was about.")
    job: str | None = Field(default=None, description="The Job that it was done by last.")
    failure: CopyFailure | None = Field(default=None, description="Why it failed last, if it did.")


class DrillStatus(TaskStatus):
    """The last restore drill."""

    rto_seconds: float | None = Field(default=None, ge=0, description="How long the restore with its proof took.")
    rpo_seconds: float | None = Field(default=None, ge=0, description="How old the newest of what it gave was.")


class BackupPolicyStatus(CommonStatus):
    """What the operator sees."""

    last_success: str | None = Field(
        default=None, description="When the newest copy of the database was complete.", json_schema_extra=_TIME
    )
    last_verified: str | None = Field(
        default=None,
        description="When a copy of the database was last read back and found whole.",
        json_schema_extra=_TIME,
    )
    rpo: str | None = Field(
        default=None,
        description="Measured RPO: of the last drill where the audit log is shipped, else what could have been lost at "
        "worst before the newest copy was complete.",
    )
    rto: str | None = Field(default=None, description="Measured RTO: how long the last drill took.")
    next_schedule: str | None = Field(default=None, description="When the next copy is due.", json_schema_extra=_TIME)
    running: str | None = Field(default=None, description="The Backup, drill or pruning that runs now.")
    version: str | None = Field(default=None, description="Version of the runtime that makes and proves copies.")
    database: StreamStatus | None = Field(default=None, description="Copies of the database.")
    cache: StreamStatus | None = Field(default=None, description="Copies of the cache.")
    drill: DrillStatus | None = Field(default=None, description="The last restore drill.")
    prune: TaskStatus | None = Field(default=None, description="The last pruning.")
    failures: dict[str, int] | None = Field(
        default=None, max_length=32, description="Failed Backup objects that are still there, by reason."
    )
    stores: Stores | None = Field(default=None, description="The ways to the service's stores, as they were found.")
    effective: dict[str, Any] | None = Field(
        default=None,
        description="The spec with every default filled in: what the operator holds true.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
