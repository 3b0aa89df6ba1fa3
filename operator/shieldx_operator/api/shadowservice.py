"""ShadowService: the HTTP API of shadow evaluation, beside a credits service whose tenants and keys it takes."""

from typing import Any

from pydantic import Field

from shieldx_operator.api.base import Model
from shieldx_operator.api.common import CommonStatus, LocalObjectReference, Resources, Scheduling
from shieldx_operator.api.creditsservice import (
    Autoscaling,
    Disruption,
    Image,
    LogLevel,
    Network,
    Profile,
    RejectedRevision,
)
from shieldx_operator.api.fields import Version


class ShadowSettings(Model):
    """How each pod of the API behaves."""

    log_level: LogLevel | None = Field(default=None, description="Least severe level that is logged.")
    pool_max_size: int | None = Field(
        default=None, ge=1, le=100, description="Most connections to the database, for each pod."
    )
    request_timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=300,
        description="Seconds after which a synchronous evaluation is answered with 503; a large one is better asked "
        "asynchronously.",
    )
    drain_delay_seconds: int | None = Field(
        default=None,
        ge=1,
        le=120,
        description="Seconds that a stopping pod goes on serving, until nothing is routed to it any more.",
    )
    termination_grace_period_seconds: int | None = Field(
        default=None,
        ge=2,
        le=900,
        description="Seconds from the order to stop until the pod is killed. More than drainDelaySeconds and "
        "requestTimeoutSeconds together, so that accepted evaluations are answered.",
    )


class ShadowServiceSpec(Model):
    """What a ShadowService asks for."""

    profile: Profile | None = Field(
        default=None,
        description="Which defaults unset fields take: Production for a cluster that serves, Development for a laptop. "
        "status.effective shows the outcome.",
    )
    version: Version | None = Field(
        default=None,
        description="Version of the runtime: the tag of its image. Unset: the version that the operator was installed "
        "with when it first saw this object; an upgrade of the operator does not change it.",
    )
    image: Image | None = Field(default=None, description="Where the runtime's image comes from.")
    credits_ref: LocalObjectReference = Field(
        description="The CreditsService, in the same namespace, whose tenants may call: their keys are valid here, "
        "and its database and cache hold the samples and results. It cannot be changed later."
    )
    autoscaling: Autoscaling | None = Field(default=None, description="How many pods serve the API.")
    disruption: Disruption | None = Field(
        default=None, description="What planned disruptions, such as the drain of a node, must leave running."
    )
    resources: Resources | None = Field(default=None, description="CPU and memory of each pod of the API.")
    network: Network | None = Field(
        default=None, description="Who may connect. Whatever is not named here is refused by NetworkPolicies."
    )
    settings: ShadowSettings | None = Field(default=None, description="How each pod of the API behaves.")
    scheduling: Scheduling | None = Field(default=None, description="Where the pods of this service may run.")
    suspend: bool | None = Field(
        default=None,
        description="True: the operator leaves everything as it is, repairs nothing and says so in Ready.",
    )


class Stores(Model):
    """The Secrets that lead to the stores in use."""

    database: str = Field(description="Name of the Secret with the URI of the database.")
    cache: str = Field(description="Name of the Secret with the URI of the cache.")


class ShadowServiceStatus(CommonStatus):
    """What the operator sees."""

    endpoint: str | None = Field(default=None, description="URL of the API inside the cluster.")
    ready: str | None = Field(default=None, description="Ready pods of the API out of those wanted, such as 2/2.")
    replicas: int | None = Field(default=None, ge=0, description="Pods of the API that are wanted now.")
    ready_replicas: int | None = Field(default=None, ge=0, description="Pods of the API that are ready.")
    version: str | None = Field(default=None, description="Version of the runtime that serves.")
    stores: Stores | None = Field(
        default=None, description="The Secrets that lead to the stores of the credits service, which this one uses."
    )
    rejected: RejectedRevision | None = Field(
        default=None, description="A version that could not be brought up, while the one before it still serves."
    )
    effective: dict[str, Any] | None = Field(
        default=None,
        description="The spec with every default filled in: what the operator holds true.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
