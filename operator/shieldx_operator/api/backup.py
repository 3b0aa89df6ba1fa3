"""Backup: one copy of one stream of a CreditsService."""

from typing import Any, Literal, TypeAlias

from pydantic import Field

from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.backupfields import Moment
from shieldx_operator.api.backupparts import CopyFailure, Destination, Encryption, Stores, Stream
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import CommonStatus, LocalObjectReference, Resources, Scheduling
from shieldx_operator.api.fields import Version

Phase: TypeAlias = Literal["Pending", "Running", "Succeeded", "Failed"]
_TIME: dict[str, Any] = {"format": "date-time"}
_INT64: dict[str, Any] = {"format": "int64"}


class BackupSpec(Model):
    """What a Backup asks for. It never changes: a Backup is one copy."""

    policy_ref: LocalObjectReference | None = Field(
        default=None,
        description="The BackupPolicy, in the same namespace, whose service, destination and keys are taken. Either "
        "this, or serviceRef, destination and encryption.",
    )
    service_ref: LocalObjectReference | None = Field(
        default=None, description="The CreditsService, in the same namespace, that is copied, where no policy says it."
    )
    destination: Destination | None = Field(
        default=None, description="Where the copy is kept, where no policy says it."
    )
    encryption: Encryption | None = Field(
        default=None, description="The keys that seal the copy, where no policy says it."
    )
    stream: Stream | None = Field(default=None, description="What is copied.")
    scheduled_at: Moment | None = Field(
        default=None, description="The due time that the copy is made for. The operator sets it; leave it out."
    )
    deadline_seconds: int | None = Field(
        default=None,
        ge=60,
        le=604_800,
        description="Seconds after which the run is given up. Unset: as the policy says, else 21600.",
    )
    version: Version | None = Field(
        default=None,
        description="Version of the runtime that makes the copy. Unset: as the policy says, else the version that the "
        "operator was installed with.",
    )
    image: Image | None = Field(
        default=None, description="Where the runtime's image comes from. Unset: as the policy says."
    )
    resources: Resources | None = Field(
        default=None, description="CPU and memory of the pod. Unset: as the policy says."
    )
    scheduling: Scheduling | None = Field(default=None, description="Where the pod may run. Unset: as the policy says.")


class BackupStatus(CommonStatus):
    """What came of it."""

    phase: Phase | None = Field(default=None, description="Pending, Running, Succeeded or Failed.")
    stream: Stream | None = Field(default=None, description="What is copied.")
    backup_id: str | None = Field(default=None, description="Id of the stored copy: what a restore names.")
    location: str | None = Field(
        default=None, description="Folder of the copy at its destination; its manifest.json is what makes it one."
    )
    started_at: str | None = Field(default=None, description="When the run began.", json_schema_extra=_TIME)
    completed_at: str | None = Field(default=None, description="When the run ended.", json_schema_extra=_TIME)
    taken_at: str | None = Field(
        default=None, description="The moment whose state the copy holds.", json_schema_extra=_TIME
    )
    verified_at: str | None = Field(
        default=None, description="When it was read back and found whole.", json_schema_extra=_TIME
    )
    duration_seconds: float | None = Field(default=None, ge=0, description="How long making and storing it took.")
    verification_seconds: float | None = Field(default=None, ge=0, description="How long reading it back took.")
    size: str | None = Field(default=None, description="Size as it is stored, for people.")
    size_bytes: int | None = Field(default=None, ge=0, description="Size as it is stored.", json_schema_extra=_INT64)
    plain_size_bytes: int | None = Field(
        default=None, ge=0, description="Size before compression and sealing.", json_schema_extra=_INT64
    )
    sha256: list[str] | None = Field(
        default=None,
        max_length=16,
        description="SHA-256 of the stored objects.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    key_id: str | None = Field(default=None, description="The key that seals it.")
    rows: int | None = Field(default=None, ge=0, description="Rows in a dump.", json_schema_extra=_INT64)
    tries: int | None = Field(default=None, ge=0, description="Pods that tried.")
    failure: CopyFailure | None = Field(default=None, description="Why there is no copy.")
    stores: Stores | None = Field(default=None, description="The ways to the service's stores, as they were found.")
    effective: dict[str, Any] | None = Field(
        default=None,
        description="What the copy was made by: the spec with all that the policy and the defaults say filled in. "
        "A Restore finds the copy by it when the policy is gone.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
