"""What a CreditsService is made of: desired objects out of a spec. Pure, and the same for the same input."""

from shieldx_contract import (
    AUTH_SECRET_DIR,
    CACHE_SECRET_DIR,
    CREDITS_MIGRATE,
    CREDITS_SERVE,
    DATABASE_SECRET_DIR,
    ENV_ADMIN_KEY_FILE,
    ENV_CACHE_TTL_S,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_DRAIN_DELAY_S,
    ENV_HEALTH_PORT,
    ENV_HTTP_HOST,
    ENV_HTTP_PORT,
    ENV_KEY_PEPPER_FILE,
    ENV_LOG_LEVEL,
    ENV_POOL_MAX_SIZE,
    ENV_REQUEST_TIMEOUT_S,
    HEALTH_PORT,
    HEALTH_PORT_NAME,
    HTTP_PORT,
    HTTP_PORT_NAME,
    RUNTIME_UID,
    SECRET_ADMIN_KEY,
    SECRET_PEPPER_KEY,
)
from shieldx_operator.blocks import autoscaling, postgres, redis
from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import CONFIG_MAP, DEPLOYMENT, JOB, SERVICE, SERVICE_ACCOUNT
from shieldx_operator.blocks.workload import (
    Volumes,
    container_security,
    digest,
    http_probes,
    pod_security,
    scratch_volume,
    secret_volume,
    spread,
)
from shieldx_operator.engine.types import GeneratedSecret, Obj
from shieldx_operator.kinds.creditsservice.view import API_COMPONENT, MIGRATION_COMPONENT, View
from shieldx_operator.settings import OperatorSettings

VERSION_LABEL = "app.kubernetes.io/version"


def auth_secret(v: View) -> GeneratedSecret:
    """Admin key and pepper. Keys in the database are hashed under the pepper, so it is kept as long as the data."""
    return GeneratedSecret(
        metadata=v.service.metadata("-auth", API_COMPONENT, retain=data_is_retained(v)),
        random={"admin-id": -8, "admin-secret": 32, SECRET_PEPPER_KEY: 32},
        derived={SECRET_ADMIN_KEY: "sxk_{admin-id}_{admin-secret}"},
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


def configuration(v: View) -> Obj:
    s = v.effective.settings
    return obj(
        CONFIG_MAP,
        v.service.metadata("-config", API_COMPONENT),
        data={
            ENV_HTTP_HOST: "0.0.0.0",  # noqa: S104 - inside the pod; the NetworkPolicy says who gets there
            ENV_HTTP_PORT: str(HTTP_PORT),
            ENV_HEALTH_PORT: str(HEALTH_PORT),
            ENV_LOG_LEVEL: s.log_level,
            ENV_POOL_MAX_SIZE: str(s.pool_max_size),
            ENV_REQUEST_TIMEOUT_S: str(s.request_timeout_seconds),
            ENV_CACHE_TTL_S: str(s.cache_ttl_seconds),
            # the preStop hook waits instead: the process hears SIGTERM only when nothing is routed to it any more
            ENV_DRAIN_DELAY_S: "0",
            ENV_DATABASE_URI_FILE: f"{DATABASE_SECRET_DIR}/{v.database_key}",
            ENV_CACHE_URI_FILE: f"{CACHE_SECRET_DIR}/{v.cache_key}",
            ENV_ADMIN_KEY_FILE: f"{AUTH_SECRET_DIR}/{SECRET_ADMIN_KEY}",
            ENV_KEY_PEPPER_FILE: f"{AUTH_SECRET_DIR}/{SECRET_PEPPER_KEY}",
        },
    )


def service_account(v: View) -> Obj:
    return obj(
        SERVICE_ACCOUNT,
        v.service.metadata("", API_COMPONENT),
        automountServiceAccountToken=False,
    )


def service(v: View) -> Obj:
    return obj(
        SERVICE,
        v.service.metadata("", API_COMPONENT),
        spec={
            "type": "ClusterIP",
            "selector": v.service.selector(API_COMPONENT),
            "ports": [
                {
                    "name": HTTP_PORT_NAME,
                    "port": HTTP_PORT,
                    "targetPort": HTTP_PORT_NAME,
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        },
    )


def deployment(v: View, settings: OperatorSettings) -> Obj:
    """The API's pods. No replicas: they belong to the autoscaler. A rollout adds a pod before it takes one away."""
    s = v.effective.settings
    container = {
        **runtime_container(v, settings, "credits", CREDITS_SERVE),
        "ports": [
            {"name": HTTP_PORT_NAME, "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": HEALTH_PORT_NAME, "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "resources": v.effective.resources.to_json(),
        "lifecycle": {"preStop": {"sleep": {"seconds": s.drain_delay_seconds}}},
        **http_probes(),
    }
    selector = v.service.selector(API_COMPONENT)
    template = pod_template(v, API_COMPONENT, container)
    template["metadata"]["annotations"] = {
        # only a change on purpose of the configuration restarts pods: they read it once, at their start
        "platform.shieldx.io/configuration": digest(configuration(v)["data"]),
    }
    template["spec"].update(
        {
            "serviceAccountName": v.service.name,
            "terminationGracePeriodSeconds": s.termination_grace_period_seconds,
            **spread(selector),
        }
    )
    return obj(
        DEPLOYMENT,
        v.service.metadata("", API_COMPONENT),
        spec={
            "selector": {"matchLabels": selector},
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 300,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": template,
        },
    )


def migration(v: View, settings: OperatorSettings, name: str) -> Obj:
    """The Job that brings the schema up to this version. Two tries in the Job; the plan replaces a failed one."""
    container = {
        **runtime_container(v, settings, "migrate", CREDITS_MIGRATE),
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
        # its last words are the message of the condition; a program that died without any leaves its log's end
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    template = pod_template(v, MIGRATION_COMPONENT, container)
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


def runtime_container(v: View, settings: OperatorSettings, name: str, command: tuple[str, ...]) -> Obj:
    return {
        "name": name,
        "image": v.image,
        "imagePullPolicy": pull_policy(v, settings),
        "command": list(command),
        "envFrom": [{"configMapRef": {"name": f"{v.service.name}-config"}}],
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(runtime_volumes(v).mounts),
    }


def runtime_volumes(v: View) -> Volumes:
    return (
        secret_volume("database", v.database_secret.name, DATABASE_SECRET_DIR, (v.database_key,))
        + secret_volume("cache", v.cache_secret.name, CACHE_SECRET_DIR, (v.cache_key,))
        + secret_volume("auth", v.auth_secret.name, AUTH_SECRET_DIR, (SECRET_ADMIN_KEY, SECRET_PEPPER_KEY))
        + scratch_volume("tmp", "/tmp", "64Mi")  # noqa: S108 - a mount point in the pod
    )


def pod_template(v: View, component: str, container: Obj) -> Obj:
    spec: Obj = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(RUNTIME_UID),
        "containers": [container],
        "volumes": list(runtime_volumes(v).volumes),
        **scheduling(v),
    }
    if pull_secrets(v):
        spec["imagePullSecrets"] = list(pull_secrets(v))
    labels = {**v.service.labels(component), VERSION_LABEL: v.version}
    return {"metadata": {"labels": labels}, "spec": spec}


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
