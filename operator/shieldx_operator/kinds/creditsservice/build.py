"""What a CreditsService is made of: desired objects out of a spec. Pure, and the same for the same input."""

from dataclasses import replace
from typing import Final

from shieldx_contract import (
    AUDIT_SECRET_DIR,
    AUTH_SECRET_DIR,
    CACHE_SECRET_DIR,
    CREDITS_MIGRATE,
    CREDITS_RECONCILE,
    CREDITS_SERVE,
    DATABASE_OWNER_SECRET_DIR,
    DATABASE_SECRET_DIR,
    ENV_ADMIN_KEY_FILE,
    ENV_AUDIT_SIGNING_KEY_FILE,
    ENV_CACHE_TTL_S,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_SERVICE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_DRAIN_DELAY_S,
    ENV_KEY_PEPPER_FILE,
    ENV_LOG_LEVEL,
    ENV_MASTER_KEYS_FILE,
    ENV_POOL_MAX_SIZE,
    ENV_RATE_LIMIT,
    ENV_REQUEST_TIMEOUT_S,
    SECRET_ADMIN_KEY,
    SECRET_AUDIT_SIGNING_KEY,
    SECRET_MASTER_KEYS,
    SECRET_PEPPER_KEY,
)
from shieldx_operator.blocks import api, autoscaling, postgres, redis
from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import CRON_JOB, JOB
from shieldx_operator.blocks.workload import (
    Volumes,
    scratch_volume,
    secret_volume,
)
from shieldx_operator.engine.types import GeneratedSecret, Obj
from shieldx_operator.kinds.creditsservice.timetable import cron_job_schedule
from shieldx_operator.kinds.creditsservice.view import (
    API_COMPONENT,
    MIGRATION_COMPONENT,
    RECONCILIATION_COMPONENT,
    View,
)
from shieldx_operator.settings import OperatorSettings

RECONCILE_SUFFIX: Final = "-reconcile"
_RECONCILE_DEADLINE_S: Final = 6 * 3600


def auth_secret(v: View) -> GeneratedSecret:
    """Admin key and pepper. Keys in the database are hashed under the pepper, so it is kept as long as the data."""
    return GeneratedSecret(
        metadata=v.service.metadata("-auth", API_COMPONENT, retain=data_is_retained(v)),
        random={"admin-id": -8, "admin-secret": 32, SECRET_PEPPER_KEY: 32},
        derived={SECRET_ADMIN_KEY: "sxk_{admin-id}_{admin-secret}"},
    )


def audit_secret(v: View) -> GeneratedSecret:
    """The key that checkpoints are signed with, and the master keys of texts: kept as long as what they protect.

    Whoever adds `master-2` makes it the active one, and `master-1` one that opens only; emptied, it is one no more.
    """
    return GeneratedSecret(
        metadata=v.service.metadata("-audit", API_COMPONENT, retain=data_is_retained(v)),
        random={SECRET_AUDIT_SIGNING_KEY: 32, "master-1": 32},
        listed={SECRET_MASTER_KEYS: ("master-", "k{0} {1}\n")},
    )


def data_is_retained(v: View) -> bool:
    """An external database outlives the object in any case."""
    managed = v.effective.database.managed
    return managed is None or managed.deletion_policy == "Retain"


def database(v: View, settings: OperatorSettings) -> list[Obj | GeneratedSecret]:
    managed = v.effective.database.managed
    if managed is None:
        return []
    return postgres.build(
        v.service,
        database="credits",
        image=managed.image or settings.postgres_image,
        pull_policy=pull_policy(v, settings),
        size=managed.storage.size,
        storage_class=managed.storage.storage_class_name,
        resources=managed.resources.to_json(),
        retain=data_is_retained(v),
        scheduling=scheduling(v),
        pull_secrets=pull_secrets(v),
    )


def cache(v: View, settings: OperatorSettings) -> list[Obj | GeneratedSecret]:
    managed = v.effective.cache.managed
    if managed is None:
        return []
    return redis.build(
        v.service,
        image=managed.image or settings.redis_image,
        pull_policy=pull_policy(v, settings),
        max_memory=managed.max_memory,
        size=managed.storage.size,
        storage_class=managed.storage.storage_class_name,
        retain=managed.deletion_policy == "Retain",
        resources=managed.resources.to_json(),
        scheduling=scheduling(v),
        pull_secrets=pull_secrets(v),
    )


def pods(v: View, settings: OperatorSettings) -> api.Pods:
    """The runtime's pods of this service: the API's and the migration's."""
    return api.Pods(
        service=v.service,
        version=v.version,
        image=v.image,
        pull_policy=pull_policy(v, settings),
        pull_secrets=pull_secrets(v),
        scheduling=scheduling(v),
        volumes=runtime_volumes(v),
        configuration=environment(v),
    )


def environment(v: View) -> dict[str, str]:
    s = v.effective.settings
    return {
        **api.LISTENING,
        ENV_LOG_LEVEL: s.log_level,
        ENV_POOL_MAX_SIZE: str(s.pool_max_size),
        ENV_REQUEST_TIMEOUT_S: str(s.request_timeout_seconds),
        ENV_CACHE_TTL_S: str(s.cache_ttl_seconds),
        ENV_RATE_LIMIT: str(s.rate_limit),
        # the preStop hook waits instead: the process hears SIGTERM only when nothing is routed to it any more
        ENV_DRAIN_DELAY_S: "0",
        ENV_DATABASE_URI_FILE: f"{DATABASE_SECRET_DIR}/{v.database_key}",
        ENV_CACHE_URI_FILE: f"{CACHE_SECRET_DIR}/{v.cache_key}",
        ENV_ADMIN_KEY_FILE: f"{AUTH_SECRET_DIR}/{SECRET_ADMIN_KEY}",
        ENV_KEY_PEPPER_FILE: f"{AUTH_SECRET_DIR}/{SECRET_PEPPER_KEY}",
    }


def configuration(v: View, settings: OperatorSettings) -> Obj:
    return api.configuration(pods(v, settings))


def service_account(v: View) -> Obj:
    return api.service_account(v.service)


def service(v: View) -> Obj:
    return api.service_object(v.service)


def deployment(v: View, settings: OperatorSettings, *, as_owner: bool = False) -> Obj:
    """The API's pods. `as_owner`: they go on connecting as the database's owner, as `plan.connects_as_owner` says."""
    s = v.effective.settings
    runtime = replace(pods(v, settings), volumes=runtime_volumes(v, as_owner=as_owner) + audit_volume(v))
    container = runtime.container("credits", CREDITS_SERVE, v.effective.resources.to_json())
    return api.deployment(
        runtime,
        {**container, "env": audit_environment()},
        drain_delay_s=s.drain_delay_seconds,
        grace_s=s.termination_grace_period_seconds,
    )


def migration(v: View, settings: OperatorSettings, name: str) -> Obj:
    """The Job that brings the schema up to this version. Two tries in the Job; the plan replaces a failed one."""
    runtime = replace(pods(v, settings), volumes=migration_volumes(v))
    container = runtime.container(
        "migrate",
        CREDITS_MIGRATE,
        {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
    )
    template = runtime.template(MIGRATION_COMPONENT, {**container, "env": migration_environment(v)})
    template["spec"]["restartPolicy"] = "Never"
    metadata = v.service.metadata("", MIGRATION_COMPONENT)
    return obj(
        JOB,
        {**metadata, "name": name},
        spec={
            "backoffLimit": 1,
            "activeDeadlineSeconds": 600,
            "template": template,
        },
    )


def reconciliation(v: View, settings: OperatorSettings, *, as_owner: bool, held: bool) -> Obj:
    """Compares all accounts with the ledger, one run at a time. `held`: a Restore has the database to itself.

    Not tried again: what differs differs the second time, too, and the next run comes by itself.
    """
    r = v.effective.reconciliation
    volumes = database_volume(v, as_owner=as_owner) + scratch_volume("tmp", "/tmp", "64Mi")  # noqa: S108 - in the pod
    runtime = replace(pods(v, settings), volumes=volumes)
    container = runtime.container(
        "reconcile",
        CREDITS_RECONCILE,
        {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
    )
    template = runtime.template(RECONCILIATION_COMPONENT, container)
    template["spec"]["restartPolicy"] = "Never"
    return obj(
        CRON_JOB,
        v.service.metadata(RECONCILE_SUFFIX, RECONCILIATION_COMPONENT),
        spec={
            "schedule": cron_job_schedule(r.schedule),
            "timeZone": r.time_zone,
            "suspend": r.suspend or held,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": v.service.labels(RECONCILIATION_COMPONENT)},
                "spec": {"backoffLimit": 0, "activeDeadlineSeconds": _RECONCILE_DEADLINE_S, "template": template},
            },
        },
    )


def migration_volumes(v: View) -> Volumes:
    volumes = secret_volume("database-owner", v.owner_secret.name, DATABASE_OWNER_SECRET_DIR, (v.owner_key,))
    if v.has_own_role:
        volumes += secret_volume("database", v.database_secret.name, DATABASE_SECRET_DIR, (v.database_key,))
    return volumes + scratch_volume("tmp", "/tmp", "64Mi")  # noqa: S108 - a mount point in the pod


def migration_environment(v: View) -> list[Obj]:
    """Over what the ConfigMap says for the API."""
    env = [{"name": ENV_DATABASE_URI_FILE, "value": f"{DATABASE_OWNER_SECRET_DIR}/{v.owner_key}"}]
    if v.has_own_role:
        env.append({"name": ENV_DATABASE_SERVICE_URI_FILE, "value": f"{DATABASE_SECRET_DIR}/{v.database_key}"})
    return env


def database_volume(v: View, *, as_owner: bool) -> Volumes:
    secret, key = (v.owner_secret, v.owner_key) if as_owner else (v.database_secret, v.database_key)
    return secret_volume("database", secret.name, DATABASE_SECRET_DIR, (key,))


def runtime_volumes(v: View, *, as_owner: bool = False) -> Volumes:
    return (
        database_volume(v, as_owner=as_owner)
        + secret_volume("cache", v.cache_secret.name, CACHE_SECRET_DIR, (v.cache_key,))
        + secret_volume("auth", v.auth_secret.name, AUTH_SECRET_DIR, (SECRET_ADMIN_KEY, SECRET_PEPPER_KEY))
        + scratch_volume("tmp", "/tmp", "64Mi")  # noqa: S108 - a mount point in the pod
    )


def audit_volume(v: View) -> Volumes:
    return secret_volume("audit", v.audit_secret.name, AUDIT_SECRET_DIR, (SECRET_AUDIT_SIGNING_KEY, SECRET_MASTER_KEYS))


def audit_environment() -> list[Obj]:
    """Not in the ConfigMap: pods of an older template have no such files, and would not start again."""
    return [
        {"name": ENV_AUDIT_SIGNING_KEY_FILE, "value": f"{AUDIT_SECRET_DIR}/{SECRET_AUDIT_SIGNING_KEY}"},
        {"name": ENV_MASTER_KEYS_FILE, "value": f"{AUDIT_SECRET_DIR}/{SECRET_MASTER_KEYS}"},
    ]


def autoscaler(v: View) -> Obj:
    a = v.effective.autoscaling
    return autoscaling.utilization_autoscaler(
        v.service.metadata("", API_COMPONENT),
        min_replicas=a.min_replicas,
        max_replicas=a.max_replicas,
        cpu_percent=a.target_cpu_utilization_percentage,
        memory_percent=a.target_memory_utilization_percentage,
        scale_down_stabilization_s=a.scale_down_stabilization_seconds,
    )


def disruption_budget(v: View) -> Obj:
    return autoscaling.disruption_budget(
        v.service.metadata("", API_COMPONENT),
        selector=v.service.selector(API_COMPONENT),
        min_available=v.effective.disruption.min_available,
    )


def pull_policy(v: View, settings: OperatorSettings) -> str:
    return v.effective.image.pull_policy or settings.image_pull_policy


def pull_secrets(v: View) -> tuple[Obj, ...]:
    return tuple({"name": s.name} for s in v.effective.image.pull_secrets or ())


def scheduling(v: View) -> Obj:
    return v.effective.scheduling.to_json()
