"""CreditsService: one credits API with its database and its cache."""

from typing import Literal, TypeAlias

from pydantic import Field

from shieldx_contract import MAX_RATE_LIMIT
from shieldx_operator.api.apiservice import ApiServiceSpec, ApiServiceStatus, ApiSettings
from shieldx_operator.api.backupfields import Cron, TimeZone
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import (
    DeletionPolicy,
    External,
    Resources,
    Scheduling,
    SecretUriReference,
    Storage,
)
from shieldx_operator.api.fields import CacheByteQuantity, ImageReference

Webhooks: TypeAlias = Literal["Denied", "Public"]


class ManagedDatabase(Model):
    """A PostgreSQL of one pod that the operator runs."""

    image: ImageReference | None = Field(
        default=None, description="Image of PostgreSQL. Unset: the image that the operator was installed with."
    )
    storage: Storage | None = Field(default=None, description="The volume that holds the ledger.")
    resources: Resources | None = Field(default=None, description="CPU and memory of PostgreSQL.")
    deletion_policy: DeletionPolicy | None = Field(
        default=None,
        description="What becomes of the data when this object is deleted. Retain: the volume claim and the Secrets "
        "that make its data readable stay, and a new object of the same name takes them up. Delete: they go.",
    )


class ExternalDatabase(External):
    """A PostgreSQL that somebody else runs."""

    owner_secret_ref: SecretUriReference | None = Field(
        default=None,
        description="The Secret with the URI of the role that owns the database. It brings the schema up, gives the "
        "role of secretRef the few rights that the API needs, and makes and restores copies. Unset: the role of "
        "secretRef does both, and whoever breaks into a pod of the API could change the ledger.",
    )


class Database(Model):
    """Where the ledger is kept: exactly one of `external` and `managed`."""

    external: ExternalDatabase | None = Field(
        default=None,
        description="A PostgreSQL that somebody else runs, by a URI such as postgresql://user:password@host:5432/name.",
    )
    managed: ManagedDatabase | None = Field(
        default=None, description="A PostgreSQL of one pod that the operator runs. {} takes all defaults."
    )


class ManagedCache(Model):
    """A Redis of one pod that the operator runs."""

    image: ImageReference | None = Field(
        default=None, description="Image of Redis. Unset: the image that the operator was installed with."
    )
    storage: Storage | None = Field(
        default=None, description="The volume from which the cache is warm again after a restart."
    )
    max_memory: CacheByteQuantity | None = Field(
        default=None,
        description="Memory for cached entries; beyond it the least recently used go. Less than "
        "resources.limits.memory, which the program itself and its snapshots share.",
    )
    resources: Resources | None = Field(default=None, description="CPU and memory of Redis.")
    deletion_policy: DeletionPolicy | None = Field(
        default=None,
        description="What becomes of volume claim and Secret when this object is deleted. The cache holds no truth: "
        "nothing but speed is lost with it.",
    )


class Cache(Model):
    """The cache that all pods share: exactly one of `external` and `managed`."""

    external: External | None = Field(
        default=None, description="A Redis that somebody else runs, by a URI such as redis://:password@host:6379/0."
    )
    managed: ManagedCache | None = Field(
        default=None, description="A Redis of one pod that the operator runs. {} takes all defaults."
    )


class Settings(ApiSettings):
    """How each pod of the API behaves."""

    pool_max_size: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Most connections to the database, for each pod; half of them are kept open. "
        "The rule of thumb is cores * 2 + 1.",
    )
    request_timeout_seconds: int | None = Field(
        default=None, ge=1, le=60, description="Seconds after which a request is answered with 503."
    )
    cache_ttl_seconds: int | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="Seconds that a cached balance lives: a read may be that old, a decision about credits never is.",
    )
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        le=MAX_RATE_LIMIT,
        description="Requests that a key without a limit of its own may make in 10 s at each pod; beyond it is a 429.",
    )
    termination_grace_period_seconds: int | None = Field(
        default=None,
        ge=2,
        le=600,
        description="Seconds from the order to stop until the pod is killed. More than drainDelaySeconds and "
        "requestTimeoutSeconds together, so that accepted requests are answered.",
    )


class Alerts(Model):
    """How tenants are told of a low balance."""

    webhooks: Webhooks | None = Field(
        default=None,
        description="Where the pods of the API may connect to deliver alerts. Denied: nowhere, no alert is delivered. "
        "Public: to port 443 of public addresses; private networks stay closed.",
    )


class Reconciliation(Model):
    """When all accounts are compared with the ledger, grants, holds and audit log; nothing is mended by it."""

    schedule: Cron | None = Field(default=None, description="When, in cron's five fields, in timeZone.")
    time_zone: TimeZone | None = Field(default=None, description="Time zone of the schedule.")
    suspend: bool | None = Field(default=None, description="True: no comparison begins. One that runs ends.")


class CreditsServiceSpec(ApiServiceSpec):
    """What a CreditsService asks for."""

    database: Database = Field(description="Where the ledger is kept: exactly one of external and managed.")
    cache: Cache = Field(description="The cache that all pods share: exactly one of external and managed.")
    settings: Settings | None = Field(default=None, description="How each pod of the API behaves.")
    alerts: Alerts | None = Field(default=None, description="How tenants are told of a low balance.")
    reconciliation: Reconciliation | None = Field(
        default=None,
        description="When all accounts are compared with the ledger. What differs makes BooksAgree False.",
    )
    scheduling: Scheduling | None = Field(
        default=None, description="Where the pods of this service may run: API, Jobs and managed stores."
    )


class CreditsServiceStatus(ApiServiceStatus):
    """What the operator sees."""

    migrated: str | None = Field(
        default=None,
        description="The last migration that was completed, by its Job's name, which stands for a version and a "
        "database. While a later one fails, pods of that version go on and come back.",
    )
    migrated_image: str | None = Field(default=None, description="The image that did it: those pods are of this one.")
    last_reconciliation: str | None = Field(
        default=None,
        description="When all accounts were last compared with the ledger, whether they agreed or differed. A run that "
        "could not compare them does not count.",
        json_schema_extra={"format": "date-time"},
    )
