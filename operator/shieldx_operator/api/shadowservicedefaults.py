"""What an unset field of a ShadowService means. See `defaults` for why this stands in no schema."""

from collections.abc import Mapping
from typing import Any, Final

from shieldx_contract import SECRET_BILLING_KEY, SHADOW_BILLING_HOLD_S
from shieldx_operator.api.apiservice import Image, LogLevel, Profile
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import LocalObjectReference, Scheduling
from shieldx_operator.api.defaults import (
    DEFAULT_PROFILE,
    EffectiveDisruption,
    EffectiveNetwork,
    EffectiveResources,
    EffectiveSecretReference,
    changed,
    filled,
)
from shieldx_operator.api.shadowservice import ShadowServiceSpec

SHADOW_SERVICE: Final[dict[str, Any]] = {
    "image": {},
    "autoscaling": {
        "minReplicas": 2,
        "maxReplicas": 6,
        "targetCPUUtilizationPercentage": 75,
        "scaleDownStabilizationSeconds": 300,
    },
    "disruption": {"minAvailable": 1},
    "resources": {
        "requests": {"cpu": "1000m", "memory": "1Gi"},
        "limits": {"cpu": "4000m", "memory": "4Gi"},
    },
    "network": {"allowFrom": [], "metricsFrom": []},
    "settings": {
        "logLevel": "info",
        "poolMaxSize": 5,
        "requestTimeoutSeconds": 30,
        "drainDelaySeconds": 5,
        "terminationGracePeriodSeconds": 60,
    },
    "billing": {"keySecretRef": {"key": SECRET_BILLING_KEY}, "holdSeconds": SHADOW_BILLING_HOLD_S},
    "scheduling": {},
    "suspend": False,
}
SHADOW_SERVICE_PROFILES: Final[Mapping[Profile, dict[str, Any]]] = {
    "Production": SHADOW_SERVICE,
    "Development": changed(
        SHADOW_SERVICE,
        {
            "autoscaling": {
                "minReplicas": 1,
                "maxReplicas": 2,
                "targetCPUUtilizationPercentage": 200,
                "scaleDownStabilizationSeconds": 60,
            },
            "disruption": {"minAvailable": 0},
            "resources": {
                "requests": {"cpu": "50m", "memory": "192Mi"},
                "limits": {"cpu": "1000m", "memory": "1Gi"},
            },
            "settings": {"poolMaxSize": 3},
        },
    ),
}


class EffectiveShadowAutoscaling(Model):
    """`target_memory_utilization_percentage` None: pods are added for their CPU alone."""

    min_replicas: int
    max_replicas: int
    target_cpu_utilization_percentage: int
    target_memory_utilization_percentage: int | None = None
    scale_down_stabilization_seconds: int


class EffectiveShadowSettings(Model):
    log_level: LogLevel
    pool_max_size: int
    request_timeout_seconds: int
    drain_delay_seconds: int
    termination_grace_period_seconds: int


class EffectiveBilling(Model):
    credits_per_thousand_samples: int
    key_secret_ref: EffectiveSecretReference
    hold_seconds: int


class EffectiveShadowService(Model):
    """A ShadowService's spec with every default filled in. `billing` None: evaluations cost nothing."""

    profile: Profile
    version: str | None = None
    image: Image
    credits_ref: LocalObjectReference
    autoscaling: EffectiveShadowAutoscaling
    disruption: EffectiveDisruption
    resources: EffectiveResources
    network: EffectiveNetwork
    settings: EffectiveShadowSettings
    billing: EffectiveBilling | None = None
    scheduling: Scheduling
    suspend: bool


def effective_service(spec: ShadowServiceSpec) -> EffectiveShadowService:
    """What the operator holds true for `spec`: its own values, and for the rest those of its profile."""
    profile = spec.profile or DEFAULT_PROFILE
    whole = filled(spec.to_json(), SHADOW_SERVICE_PROFILES[profile])
    return EffectiveShadowService.model_validate({**whole, "profile": profile})
