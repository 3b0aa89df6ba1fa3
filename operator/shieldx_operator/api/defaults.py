"""What an unset field means. Data, and the one function that reads it.

No default stands in the CRD: the API server would write it into the object, and a GitOps tool would see a
difference that nobody made. `status.effective` shows what the operator took instead.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

from shieldx_contract import DEFAULT_RATE_LIMIT
from shieldx_operator.api.apiservice import Image, LogLevel, Profile
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import DeletionPolicy, NetworkPeer, Scheduling
from shieldx_operator.api.creditsservice import CreditsServiceSpec, Webhooks
from shieldx_operator.api.tenant import Scope, TenantSpec

Json = dict[str, Any]

DEFAULT_PROFILE: Final[Profile] = "Production"

PRODUCTION: Final[Json] = {
    "image": {},
    "autoscaling": {
        "minReplicas": 3,
        "maxReplicas": 10,
        "targetCPUUtilizationPercentage": 70,
        "targetMemoryUtilizationPercentage": 80,
        "scaleDownStabilizationSeconds": 300,
    },
    "disruption": {"minAvailable": 2},
    "resources": {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"cpu": "2000m", "memory": "2Gi"},
    },
    "network": {"allowFrom": [], "metricsFrom": []},
    "database": {
        "external": {"secretRef": {"key": "uri"}, "ownerSecretRef": {"key": "uri"}},
        "managed": {
            "storage": {"size": "10Gi"},
            "resources": {
                "requests": {"cpu": "250m", "memory": "512Mi"},
                "limits": {"cpu": "2000m", "memory": "2Gi"},
            },
            "deletionPolicy": "Retain",
        },
    },
    "cache": {
        "external": {"secretRef": {"key": "uri"}},
        "managed": {
            "storage": {"size": "2Gi"},
            "maxMemory": "256Mi",
            "resources": {
                "requests": {"cpu": "100m", "memory": "320Mi"},
                "limits": {"cpu": "1000m", "memory": "640Mi"},
            },
            "deletionPolicy": "Delete",
        },
    },
    "settings": {
        "logLevel": "info",
        "poolMaxSize": 5,
        "requestTimeoutSeconds": 5,
        "cacheTTLSeconds": 60,
        "drainDelaySeconds": 5,
        "rateLimit": DEFAULT_RATE_LIMIT,
        "terminationGracePeriodSeconds": 30,
    },
    "alerts": {"webhooks": "Denied"},
    # UTC alone is known to an API server without a data base of time zones
    "reconciliation": {"schedule": "17 3 * * *", "timeZone": "UTC", "suspend": False},
    "scheduling": {},
    "suspend": False,
}

# a laptop's requests are far below what a pod uses at times, so that its CPU target is higher
_DEVELOPMENT_CHANGES: Final[Json] = {
    "autoscaling": {
        "minReplicas": 1,
        "maxReplicas": 2,
        "targetCPUUtilizationPercentage": 200,
        "scaleDownStabilizationSeconds": 60,
    },
    "disruption": {"minAvailable": 0},
    "resources": {
        "requests": {"cpu": "50m", "memory": "192Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    },
    "database": {
        "managed": {
            "storage": {"size": "1Gi"},
            "resources": {
                "requests": {"cpu": "50m", "memory": "128Mi"},
                "limits": {"cpu": "500m", "memory": "512Mi"},
            },
        },
    },
    "cache": {
        "managed": {
            "storage": {"size": "256Mi"},
            "maxMemory": "64Mi",
            "resources": {
                "requests": {"cpu": "25m", "memory": "96Mi"},
                "limits": {"cpu": "250m", "memory": "192Mi"},
            },
        },
    },
    "settings": {"poolMaxSize": 3, "terminationGracePeriodSeconds": 15},
}

_CHOICES: Final = frozenset(
    {
        ("database", "external"),
        ("database", "external", "ownerSecretRef"),
        ("database", "managed"),
        ("cache", "external"),
        ("cache", "managed"),
        ("billing",),
    }
)
"""Branches that a spec takes or leaves: a default never adds one."""


def filled(value: Json, defaults: Json, path: tuple[str, ...] = ()) -> Json:
    """`value` with what it leaves unset taken from `defaults`; lists are taken whole."""
    result = dict(value)
    for name, default in defaults.items():
        here = (*path, name)
        if isinstance(default, dict):
            if name in value or here not in _CHOICES:
                result[name] = filled(value.get(name, {}), default, here)
        elif name not in value:
            result[name] = copy.deepcopy(default)
    return result


def changed(base: Json, changes: Json) -> Json:
    return {
        name: changed(value, changes[name])
        if isinstance(value, dict) and name in changes
        else copy.deepcopy(changes.get(name, value))
        for name, value in base.items()
    }


DEVELOPMENT: Final[Json] = changed(PRODUCTION, _DEVELOPMENT_CHANGES)
PROFILES: Final[Mapping[Profile, Json]] = {"Production": PRODUCTION, "Development": DEVELOPMENT}

TENANT: Final[Json] = {"key": {"scopes": ["consume", "read"], "overlapSeconds": 3600}}
TENANT_SECRET_SUFFIX: Final = "-credits-key"  # noqa: S105 - a part of a name


class EffectiveAmounts(Model):
    cpu: str
    memory: str


class EffectiveResources(Model):
    requests: EffectiveAmounts
    limits: EffectiveAmounts


class EffectiveAutoscaling(Model):
    min_replicas: int
    max_replicas: int
    target_cpu_utilization_percentage: int
    target_memory_utilization_percentage: int
    scale_down_stabilization_seconds: int


class EffectiveDisruption(Model):
    min_available: int


class EffectiveNetwork(Model):
    allow_from: list[NetworkPeer]
    metrics_from: list[NetworkPeer]


class EffectiveSecretReference(Model):
    name: str
    key: str


class EffectiveExternal(Model):
    secret_ref: EffectiveSecretReference


class EffectiveExternalDatabase(EffectiveExternal):
    """`owner_secret_ref` None: the role of `secret_ref` is the owner."""

    owner_secret_ref: EffectiveSecretReference | None = None


class EffectiveStorage(Model):
    """`storage_class_name` None is the cluster's default class."""

    size: str
    storage_class_name: str | None = None


class EffectiveManagedDatabase(Model):
    """`image` None is the image that the operator was installed with."""

    image: str | None = None
    storage: EffectiveStorage
    resources: EffectiveResources
    deletion_policy: DeletionPolicy


class EffectiveManagedCache(EffectiveManagedDatabase):
    max_memory: str


class EffectiveDatabase(Model):
    external: EffectiveExternalDatabase | None = None
    managed: EffectiveManagedDatabase | None = None


class EffectiveCache(Model):
    external: EffectiveExternal | None = None
    managed: EffectiveManagedCache | None = None


class EffectiveSettings(Model):
    log_level: LogLevel
    pool_max_size: int
    request_timeout_seconds: int
    cache_ttl_seconds: int
    drain_delay_seconds: int
    rate_limit: int
    termination_grace_period_seconds: int


class EffectiveAlerts(Model):
    webhooks: Webhooks


class EffectiveReconciliation(Model):
    schedule: str
    time_zone: str
    suspend: bool


class EffectiveCreditsService(Model):
    """A CreditsService's spec with every default filled in.

    What None is left to mean the operator's installation decides: `version`, and the images' names and pull policy.
    """

    profile: Profile
    version: str | None = None
    image: Image
    autoscaling: EffectiveAutoscaling
    disruption: EffectiveDisruption
    resources: EffectiveResources
    network: EffectiveNetwork
    database: EffectiveDatabase
    cache: EffectiveCache
    settings: EffectiveSettings
    alerts: EffectiveAlerts
    reconciliation: EffectiveReconciliation
    scheduling: Scheduling
    suspend: bool


class EffectiveTenant(Model):
    """A Tenant's spec with every default filled in."""

    service_name: str
    tenant_id: str
    display_name: str | None
    plan: str | None
    scopes: list[Scope]
    secret_name: str
    rotation: str | None
    overlap_seconds: int


def effective(spec: CreditsServiceSpec) -> EffectiveCreditsService:
    """What the operator holds true for `spec`: its own values, and for the rest those of its profile."""
    profile = spec.profile or DEFAULT_PROFILE
    whole = filled(spec.to_json(), PROFILES[profile])
    return EffectiveCreditsService.model_validate({**whole, "profile": profile})


def effective_tenant(name: str, spec: TenantSpec) -> EffectiveTenant:
    """What the operator holds true for the Tenant `name`."""
    key = filled(spec.to_json(), TENANT)["key"]
    return EffectiveTenant(
        service_name=spec.service_ref.name,
        tenant_id=spec.tenant_id or name,
        display_name=spec.display_name,
        plan=spec.plan,
        scopes=key["scopes"],
        secret_name=key.get("secretName") or f"{name}{TENANT_SECRET_SUFFIX}",
        rotation=key.get("rotation"),
        overlap_seconds=key["overlapSeconds"],
    )
