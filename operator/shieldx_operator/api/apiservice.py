"""What every service with an HTTP API has in its spec and status, whatever it serves."""

from typing import Any, Literal, TypeAlias

from pydantic import Field

from shieldx_operator.api.base import Model
from shieldx_operator.api.common import (
    ATOMIC_LIST,
    CommonStatus,
    LocalObjectReference,
    NetworkPeer,
    Resources,
    Scheduling,
)
from shieldx_operator.api.fields import Repository, Version

Profile: TypeAlias = Literal["Production", "Development"]
PullPolicy: TypeAlias = Literal["Always", "IfNotPresent", "Never"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class Image(Model):
    """Where the runtime's image comes from."""

    repository: Repository | None = Field(
        default=None,
        description="Name of the runtime's image without tag: the tag is the version. "
        "Unset: the image that the operator was installed with.",
    )
    pull_policy: PullPolicy | None = Field(
        default=None,
        description="When a node pulls the images of this service. "
        "Unset: the policy that the operator was installed with.",
    )
    pull_secrets: list[LocalObjectReference] | None = Field(
        default=None,
        max_length=8,
        description="Secrets with credentials for the registry, for every image of this service.",
        json_schema_extra=ATOMIC_LIST,
    )


class Autoscaling(Model):
    """How many pods serve the API. A HorizontalPodAutoscaler decides within these bounds."""

    min_replicas: int | None = Field(default=None, ge=1, le=100, description="Fewest pods. At most maxReplicas.")
    max_replicas: int | None = Field(default=None, ge=1, le=100, description="Most pods.")
    target_cpu_utilization_percentage: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="CPU that the pods use on average, in percent of resources.requests.cpu, "
        "above which pods are added.",
    )
    target_memory_utilization_percentage: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Memory that the pods use on average, in percent of resources.requests.memory, "
        "above which pods are added.",
    )
    scale_down_stabilization_seconds: int | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="Seconds that a lower need must last before a pod is removed.",
    )


class Disruption(Model):
    """What planned disruptions, such as the drain of a node, must leave running."""

    min_available: int | None = Field(
        default=None,
        ge=0,
        le=99,
        description="Ready pods that an eviction must leave; a PodDisruptionBudget refuses it otherwise. "
        "Less than autoscaling.minReplicas, or no node could ever be drained. 0: every pod may be evicted.",
    )


class Network(Model):
    """Who may connect. Whatever is not named here is refused by NetworkPolicies."""

    allow_from: list[NetworkPeer] | None = Field(
        default=None,
        max_length=16,
        description="Pods that may call the API. Unset or empty: none but the operator.",
        json_schema_extra=ATOMIC_LIST,
    )
    metrics_from: list[NetworkPeer] | None = Field(
        default=None,
        max_length=16,
        description="Pods that may read health and metrics, such as Prometheus. Unset or empty: none.",
        json_schema_extra=ATOMIC_LIST,
    )


class RejectedRevision(Model):
    """A version that could not be brought up; the one before it still serves."""

    version: str = Field(description="The version that was refused.")
    generation: int = Field(
        ge=0, description="The metadata.generation that asked for it.", json_schema_extra={"format": "int64"}
    )
    reason: str = Field(description="Why, as one word for programs.")
    message: str = Field(description="Why, and what to do; for people.")


class ApiServiceSpec(Model):
    """What every service with an HTTP API asks for."""

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
    autoscaling: Autoscaling | None = Field(default=None, description="How many pods serve the API.")
    disruption: Disruption | None = Field(
        default=None, description="What planned disruptions, such as the drain of a node, must leave running."
    )
    resources: Resources | None = Field(default=None, description="CPU and memory of each pod of the API.")
    network: Network | None = Field(
        default=None, description="Who may connect. Whatever is not named here is refused by NetworkPolicies."
    )
    scheduling: Scheduling | None = Field(default=None, description="Where the pods of this service may run.")
    suspend: bool | None = Field(
        default=None,
        description="True: the operator leaves everything as it is, repairs nothing and says so in Ready.",
    )


class ApiSettings(Model):
    """How each pod of an API behaves."""

    log_level: LogLevel | None = Field(default=None, description="Least severe level that is logged.")
    drain_delay_seconds: int | None = Field(
        default=None,
        ge=1,
        le=120,
        description="Seconds that a stopping pod goes on serving, until nothing is routed to it any more.",
    )


class ApiServiceStatus(CommonStatus):
    """What the operator sees of a service with an HTTP API."""

    endpoint: str | None = Field(default=None, description="URL of the API inside the cluster.")
    ready: str | None = Field(default=None, description="Ready pods of the API out of those wanted, such as 3/3.")
    replicas: int | None = Field(default=None, ge=0, description="Pods of the API that are wanted now.")
    ready_replicas: int | None = Field(default=None, ge=0, description="Pods of the API that are ready.")
    version: str | None = Field(default=None, description="Version of the runtime that serves.")
    rejected: RejectedRevision | None = Field(
        default=None, description="A version that could not be brought up, while the one before it still serves."
    )
    effective: dict[str, Any] | None = Field(
        default=None,
        description="The spec with every default filled in: what the operator holds true.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
