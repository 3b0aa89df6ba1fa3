"""Restore: one copy of a database, put in the place of a CreditsService's database or into a new service."""

from typing import Any, Literal, TypeAlias

from pydantic import Field

from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.backupfields import BackupId, Moment
from shieldx_operator.api.backupparts import CopyFailure, Stores
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import (
    CommonStatus,
    LocalObjectReference,
    Resources,
    Scheduling,
    check,
    checked,
)
from shieldx_operator.api.fields import ByteQuantity, ObjectName, Version

Mode: TypeAlias = Literal["InPlace", "NewService"]
RestorePhase: TypeAlias = Literal["Pending", "Stopping", "Restoring", "RollingBack", "Succeeded", "Failed"]
_TIME: dict[str, Any] = {"format": "date-time"}
_INT64: dict[str, Any] = {"format": "int64"}


class RestoreSource(Model):
    """Which copy: a Backup, or one that a policy has made."""

    model_config = checked(
        check(
            rule="has(self.backupRef) != has(self.policyRef)",
            message="set exactly one of backupRef (a Backup) and policyRef (the newest verified copy of a policy, or "
            "the one that backupID names)",
        ),
        check(
            rule="!has(self.backupID) || has(self.policyRef)",
            message="backupID goes with policyRef, which says where the copy is; a Backup knows its own: leave it out",
        ),
    )

    backup_ref: LocalObjectReference | None = Field(
        default=None, description="A Backup of the database, in the same namespace, that succeeded."
    )
    policy_ref: LocalObjectReference | None = Field(
        default=None,
        description="A BackupPolicy, in the same namespace: its newest verified copy, or that of backupID. After a "
        "loss of everything, a policy with the same destination and keys finds the copies that its predecessor made.",
    )
    backup_id: BackupId | None = Field(
        default=None, description="Id of the stored copy. Unset: the newest verified one, not younger than `until`."
    )
    until: Moment | None = Field(
        default=None,
        description="Nothing later than this is restored: the state of that time. Unset: all that there is.",
    )
    replay: bool | None = Field(
        default=None,
        description="True: what the audit log has after the dump is replayed, so that no more is lost than was not "
        "shipped. False: the dump as it is.",
    )


class RestoreTarget(Model):
    """Where to."""

    name: ObjectName = Field(
        description="Name of the CreditsService, in the same namespace. For NewService make this Restore first, then "
        "the service: it waits with its schema and its pods until its database is restored."
    )
    mode: Mode = Field(
        description="InPlace: the service's database is put aside and replaced. NewService: the empty database of a "
        "new service is filled."
    )


class RestoreSpec(Model):
    """What a Restore asks for. It never changes: a Restore is done once."""

    source: RestoreSource = Field(description="Which copy.")
    target: RestoreTarget = Field(description="Where to.")
    confirm: ObjectName | None = Field(
        default=None, description="For InPlace: the target's name once more. Whoever writes it means it."
    )
    deadline_seconds: int | None = Field(
        default=None, ge=60, le=604_800, description="Seconds after which the restore is given up and rolled back."
    )
    scratch_size: ByteQuantity | None = Field(
        default=None, description="Room for one unpacked dump, on the node's disk."
    )
    version: Version | None = Field(
        default=None, description="Version of the runtime that restores. Unset: the version of the copy's policy."
    )
    image: Image | None = Field(
        default=None, description="Where the runtime's image comes from. Unset: as the copy's policy says."
    )
    resources: Resources | None = Field(default=None, description="CPU and memory of the pod.")
    scheduling: Scheduling | None = Field(default=None, description="Where the pod may run.")


class RestoreStatus(CommonStatus):
    """What came of it."""

    phase: RestorePhase | None = Field(
        default=None, description="Pending, Stopping, Restoring, RollingBack, Succeeded or Failed."
    )
    backup_id: str | None = Field(default=None, description="Id of the copy that was restored.")
    taken_at: str | None = Field(
        default=None, description="The moment whose state the copy holds.", json_schema_extra=_TIME
    )
    replayed_to: str | None = Field(
        default=None, description="The moment up to which the audit log was replayed.", json_schema_extra=_TIME
    )
    replayed_rows: int | None = Field(
        default=None, ge=0, description="Rows that were replayed after the dump.", json_schema_extra=_INT64
    )
    safety_copy: str | None = Field(
        default=None,
        description="Name of the database that was put aside, on the same server. Nobody deletes it but you.",
    )
    requested_at: str | None = Field(default=None, description="When the operator began.", json_schema_extra=_TIME)
    started_at: str | None = Field(
        default=None, description="When nobody wrote any more and the restore began.", json_schema_extra=_TIME
    )
    completed_at: str | None = Field(default=None, description="When it ended.", json_schema_extra=_TIME)
    duration_seconds: float | None = Field(default=None, ge=0, description="How long the restore with its proof took.")
    timeline: list[str] | None = Field(
        default=None,
        max_length=32,
        description="What was done when, in seconds from its beginning.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    rolled_back: str | None = Field(
        default=None, description="What became of the database after a restore that failed."
    )
    failure: CopyFailure | None = Field(default=None, description="Why it failed.")
    stores: Stores | None = Field(default=None, description="The ways to the target's stores, as they were found.")
    effective: dict[str, Any] | None = Field(
        default=None,
        description="What it is done by: the spec with all that the copy's own object and the defaults say filled in.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
