"""Parts that several kinds share: references, selectors, tolerations, and what every status holds."""

from typing import Final, Literal, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from shieldx_operator.api.base import Model
from shieldx_operator.api.fields import (
    VALIDATIONS,
    ByteQuantity,
    CpuQuantity,
    LabelKey,
    LabelValue,
    ObjectName,
    SecretKey,
)

ATOMIC_LIST: Final[JsonDict] = {"x-kubernetes-list-type": "atomic"}
SET_LIST: Final[JsonDict] = {"x-kubernetes-list-type": "set"}
ATOMIC_MAP: Final[JsonDict] = {"x-kubernetes-map-type": "atomic"}

DeletionPolicy: TypeAlias = Literal["Retain", "Delete"]
LabelMap: TypeAlias = dict[LabelKey, LabelValue]


def check(*, rule: str, message: str) -> JsonDict:
    """A CEL rule over the fields of one type, and what a user reads who broke it."""
    return {"rule": rule, "message": message}


def checked(*checks: JsonDict) -> ConfigDict:
    """Configuration of a type whose own fields the API server checks against each other."""
    return ConfigDict(json_schema_extra={VALIDATIONS: list(checks)})


class LocalObjectReference(Model):
    """Names an object of the same namespace."""

    name: ObjectName = Field(description="Name of the object, in the namespace of this one.")


class SecretUriReference(Model):
    """Names the key of a Secret that holds a connection URI."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of this object.")
    key: SecretKey | None = Field(default=None, description="Key of the Secret whose value is the connection URI.")


class External(Model):
    """A store that somebody else runs."""

    secret_ref: SecretUriReference = Field(
        description="The Secret that holds the connection URI. The operator reads it and never changes it."
    )


class Storage(Model):
    """The volume of a managed store."""

    size: ByteQuantity | None = Field(
        default=None,
        description="Size of the volume. It may grow, where the storage class allows it, and never shrink.",
    )
    storage_class_name: ObjectName | None = Field(
        default=None,
        description="Storage class of the volume. It cannot be set, changed or unset later. "
        "Unset: the cluster's default class.",
    )


class ResourceAmounts(Model):
    """An amount of CPU and of memory."""

    cpu: CpuQuantity | None = Field(default=None, description="CPU, in cores (2, 0.5) or thousandths of one (500m).")
    memory: ByteQuantity | None = Field(default=None, description="Memory, in bytes (512Mi, 2Gi).")


class Resources(Model):
    """What a container is promised and what it may use at most."""

    requests: ResourceAmounts | None = Field(
        default=None, description="What the scheduler sets aside for each pod. Never more than the limits."
    )
    limits: ResourceAmounts | None = Field(
        default=None, description="What each pod may use: beyond the CPU it is slowed, beyond the memory it is killed."
    )


class LabelSelectorRequirement(Model):
    """One condition on labels."""

    model_config = checked(
        check(
            rule="self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : "
            "!has(self.values) || self.values.size() == 0",
            message="values must hold at least one value for operator In or NotIn, and none for Exists or DoesNotExist",
        )
    )

    key: LabelKey = Field(description="The label's key.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How the label's value relates to `values`."
    )
    values: list[LabelValue] | None = Field(
        default=None,
        max_length=16,
        description="Values for In and NotIn; absent for Exists and DoesNotExist.",
        json_schema_extra=ATOMIC_LIST,
    )


class LabelSelector(Model):
    """Kubernetes' label selector: every condition given must hold."""

    match_labels: LabelMap | None = Field(
        default=None, max_length=16, description="Labels that must be there with exactly these values."
    )
    match_expressions: list[LabelSelectorRequirement] | None = Field(
        default=None,
        max_length=16,
        description="Further conditions on labels.",
        json_schema_extra=ATOMIC_LIST,
    )


_NAMES_SOMETHING: Final = " || ".join(
    f"(has(self.{selector}) && has(self.{selector}.{terms}) && self.{selector}.{terms}.size() > 0)"
    for selector in ("podSelector", "namespaceSelector")
    for terms in ("matchLabels", "matchExpressions")
)


class NetworkPeer(Model):
    """Pods, by their labels and by those of their namespace."""

    model_config = checked(
        check(
            rule=_NAMES_SOMETHING,
            message="must select by at least one label, in podSelector or namespaceSelector: an empty peer is every "
            "pod there is; name the callers' label, or for a whole namespace write namespaceSelector.matchLabels with "
            "kubernetes.io/metadata.name",
        )
    )

    namespace_selector: LabelSelector | None = Field(
        default=None,
        description="Namespaces whose pods are meant, by label; every namespace has the label "
        "kubernetes.io/metadata.name. Empty ({}): all namespaces. Unset: the namespace of this object.",
        json_schema_extra=ATOMIC_MAP,
    )
    pod_selector: LabelSelector | None = Field(
        default=None,
        description="Pods that are meant, by label. Unset or empty ({}): all pods of the namespaces that "
        "namespaceSelector selects.",
        json_schema_extra=ATOMIC_MAP,
    )


class Toleration(Model):
    """Kubernetes' toleration: lets pods run on nodes that have a taint."""

    model_config = checked(
        check(
            rule="has(self.operator) && self.operator == 'Exists' ? !has(self.value) : has(self.key)",
            message="operator Exists takes no value, and operator Equal (Kubernetes' default) needs a key",
        ),
        check(
            rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="tolerationSeconds works with effect NoExecute only: set the effect or remove tolerationSeconds",
        ),
    )

    key: LabelKey | None = Field(default=None, description="The taint's key. Unset, with operator Exists: every taint.")
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Whether the taint's value must equal `value`. Kubernetes' default is Equal."
    )
    value: LabelValue | None = Field(default=None, description="The taint's value, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect. Unset: all effects."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="Seconds that a running pod stays after the taint appears; for effect NoExecute only. "
        "Unset: for ever.",
    )


class Scheduling(Model):
    """Where pods may run."""

    node_selector: LabelMap | None = Field(
        default=None, max_length=16, description="Labels that a node must have.", json_schema_extra=ATOMIC_MAP
    )
    tolerations: list[Toleration] | None = Field(
        default=None,
        max_length=16,
        description="Taints that the pods tolerate.",
        json_schema_extra=ATOMIC_LIST,
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods. Unset: the cluster's default priority."
    )


class StatusCondition(Model):
    """Kubernetes' condition (metav1.Condition)."""

    type: str = Field(max_length=316, description="What the condition is about, such as Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(min_length=1, max_length=1024, description="Why, as one word for programs.")
    message: str = Field(max_length=32_768, description="What is wrong, where, and what to do; for people.")
    last_transition_time: str = Field(
        description="When `status` last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int | None = Field(
        default=None,
        ge=0,
        description="The metadata.generation that the condition speaks of.",
        json_schema_extra={"format": "int64"},
    )


class InventoryEntry(Model):
    """One object that the operator made for this one."""

    group: str = Field(description="API group; empty for the core group.")
    version: str = Field(description="API version.")
    kind: str = Field(description="Kind.")
    namespace: str = Field(description="Namespace.")
    name: str = Field(description="Name.")


class CommonStatus(Model):
    """What the status of every kind holds."""

    observed_generation: int | None = Field(
        default=None,
        ge=0,
        description="The metadata.generation that this status speaks of.",
        json_schema_extra={"format": "int64"},
    )
    conditions: list[StatusCondition] | None = Field(
        default=None,
        max_length=32,
        description="Ready, Reconciling and Stalled as kstatus reads them, and one for each component.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    inventory: list[InventoryEntry] | None = Field(
        default=None,
        max_length=256,
        description="Objects that the operator made for this one; what is no longer wanted is deleted out of it.",
        json_schema_extra=ATOMIC_LIST,
    )
