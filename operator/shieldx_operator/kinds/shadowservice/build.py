"""What a ShadowService is made of. Pure, and built by the same blocks as the credits service."""

from shieldx_contract import (
    AUTH_SECRET_DIR,
    BILLING_SECRET_DIR,
    CACHE_SECRET_DIR,
    DATABASE_OWNER_SECRET_DIR,
    DATABASE_SECRET_DIR,
    ENV_ADMIN_KEY_FILE,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_SERVICE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_DRAIN_DELAY_S,
    ENV_KEY_PEPPER_FILE,
    ENV_LOG_LEVEL,
    ENV_POOL_MAX_SIZE,
    ENV_REQUEST_TIMEOUT_S,
    ENV_SHADOW_BILLING_HOLD_S,
    ENV_SHADOW_BILLING_KEY_FILE,
    ENV_SHADOW_BILLING_PRICE,
    ENV_SHADOW_BILLING_URL,
    HEALTH_PORT,
    HTTP_PORT,
    SECRET_ADMIN_KEY,
    SECRET_PEPPER_KEY,
    SHADOW_MIGRATE,
    SHADOW_SERVE,
)
from shieldx_operator.blocks import api, autoscaling, postgres
from shieldx_operator.blocks.component import endpoint
from shieldx_operator.blocks.network import (
    DNS,
    Rule,
    egress,
    ingress,
    peers_in_namespace,
    policy,
)
from shieldx_operator.blocks.uri import secret_value, uri_port
from shieldx_operator.blocks.workload import Volumes, scratch_volume, secret_volume
from shieldx_operator.engine.types import GeneratedSecret, Obj, Observation
from shieldx_operator.kinds.shadowservice.view import CREDITS_APP, Store, View
from shieldx_operator.settings import OperatorSettings


def role_secret(v: View) -> GeneratedSecret:
    """The role that the API connects by, in the database that the credits service runs: `shadow migrate` makes it."""
    user = f"shadow_{v.service.name.replace('-', '_')}"
    metadata = v.service.metadata(postgres.SUFFIX, api.COMPONENT)
    return postgres.role_secret(metadata, v.credits_service, CREDITS_APP, user)


def pods(v: View, database: Store, cache: Store, settings: OperatorSettings) -> api.Pods:
    """Pods that connect by the role of `database`, or as its owner where it has none."""
    image = v.effective.image
    serving = (database.role, database.role_key) if database.role else (database.secret, database.key)
    s = v.effective.settings
    return api.Pods(
        service=v.service,
        version=v.version,
        image=v.image,
        pull_policy=image.pull_policy or settings.image_pull_policy,
        pull_secrets=tuple({"name": p.name} for p in image.pull_secrets or ()),
        scheduling=v.effective.scheduling.to_json(),
        volumes=secret_volume("database", serving[0].name, DATABASE_SECRET_DIR, (serving[1],))
        + secret_volume("cache", cache.secret.name, CACHE_SECRET_DIR, (cache.key,))
        + secret_volume("auth", v.auth_secret.name, AUTH_SECRET_DIR, (SECRET_ADMIN_KEY, SECRET_PEPPER_KEY))
        + _billing_key(v)
        + scratch_volume("tmp", "/tmp", "1Gi"),  # noqa: S108 - a mount point in the pod: samples that are streamed through
        configuration={
            **api.LISTENING,
            ENV_LOG_LEVEL: s.log_level,
            ENV_POOL_MAX_SIZE: str(s.pool_max_size),
            ENV_REQUEST_TIMEOUT_S: str(s.request_timeout_seconds),
            # the preStop hook waits instead: the process hears SIGTERM only when nothing is routed to it any more
            ENV_DRAIN_DELAY_S: "0",
            ENV_DATABASE_URI_FILE: f"{DATABASE_SECRET_DIR}/{serving[1]}",
            ENV_CACHE_URI_FILE: f"{CACHE_SECRET_DIR}/{cache.key}",
            ENV_ADMIN_KEY_FILE: f"{AUTH_SECRET_DIR}/{SECRET_ADMIN_KEY}",
            ENV_KEY_PEPPER_FILE: f"{AUTH_SECRET_DIR}/{SECRET_PEPPER_KEY}",
            **_billing(v),
        },
    )


def _billing_key(v: View) -> Volumes:
    billing = v.effective.billing
    if billing is None:
        return Volumes()
    return secret_volume("billing", billing.key_secret_ref.name, BILLING_SECRET_DIR, (billing.key_secret_ref.key,))


def _billing(v: View) -> dict[str, str]:
    billing = v.effective.billing
    if billing is None:
        return {}
    return {
        ENV_SHADOW_BILLING_URL: endpoint(v.credits_service),
        ENV_SHADOW_BILLING_KEY_FILE: f"{BILLING_SECRET_DIR}/{billing.key_secret_ref.key}",
        ENV_SHADOW_BILLING_PRICE: str(billing.credits_per_thousand_samples),
        ENV_SHADOW_BILLING_HOLD_S: str(billing.hold_seconds),
    }


def deployment(v: View, runtime: api.Pods, database: Store) -> Obj:
    """The API's pods. In each, the schema is brought up by the owner before the API starts as another role."""
    s = v.effective.settings
    made = api.deployment(
        runtime,
        runtime.container("shadow", SHADOW_SERVE, v.effective.resources.to_json()),
        drain_delay_s=s.drain_delay_seconds,
        grace_s=s.termination_grace_period_seconds,
    )
    if database.role is not None:
        pod = made["spec"]["template"]["spec"]
        owner = secret_volume("database-owner", database.secret.name, DATABASE_OWNER_SECRET_DIR, (database.key,))
        pod["volumes"] = [*pod["volumes"], *owner.volumes]
        pod["initContainers"] = [_migration(runtime, database, owner)]
    return made


def _migration(runtime: api.Pods, database: Store, owner: Volumes) -> Obj:
    """Has the owner's password, which the container that serves has not. Safe to run in many pods at once."""
    container = runtime.container(
        "migrate",
        SHADOW_MIGRATE,
        {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
    )
    mounts = [m for m in container["volumeMounts"] if m["name"] in ("database", "tmp")]
    return {
        **container,
        "volumeMounts": [*mounts, *owner.mounts],
        "env": [
            {"name": ENV_DATABASE_URI_FILE, "value": f"{DATABASE_OWNER_SECRET_DIR}/{database.key}"},
            {"name": ENV_DATABASE_SERVICE_URI_FILE, "value": f"{DATABASE_SECRET_DIR}/{database.role_key}"},
        ],
    }


def autoscaler(v: View) -> Obj:
    a = v.effective.autoscaling
    return autoscaling.utilization_autoscaler(
        v.service.metadata("", api.COMPONENT),
        min_replicas=a.min_replicas,
        max_replicas=a.max_replicas,
        cpu_percent=a.target_cpu_utilization_percentage,
        memory_percent=a.target_memory_utilization_percentage,
        scale_down_stabilization_s=a.scale_down_stabilization_seconds,
    )


def disruption_budget(v: View) -> Obj:
    return autoscaling.disruption_budget(
        v.service.metadata("", api.COMPONENT),
        selector=v.service.selector(api.COMPONENT),
        min_available=v.effective.disruption.min_available,
    )


def network(v: View, database: Store, cache: Store, seen: Observation) -> list[Obj]:
    """A default deny, one policy for the API, and one that lets it in at what it uses of the credits service.

    That is each managed store, and the API where evaluations are paid.
    """
    s = v.service
    callers = [p.to_json() for p in v.effective.network.allow_from]
    scrapers = [p.to_json() for p in v.effective.network.metrics_from]
    billed = v.effective.billing is not None
    policies = [
        policy(s.metadata("-default-deny", api.COMPONENT), s.selector()),
        policy(
            s.metadata("-api", api.COMPONENT),
            s.selector(api.COMPONENT),
            ingress=[
                # a rule without peers would let everybody in
                *([ingress(callers, HTTP_PORT)] if callers else []),
                *([ingress(scrapers, HEALTH_PORT)] if scrapers else []),
            ],
            egress=[DNS, _to(v, database, seen), _to(v, cache, seen), *([_to_credits(v)] if billed else [])],
        ),
    ]
    # the credits service's own policies let in its own pods alone; policies add up
    used = [(store.component, store.port) for store in (database, cache) if store.component is not None]
    used += [(api.COMPONENT, HTTP_PORT)] if billed else []
    return [*policies, *(_let_in(v, component, port) for component, port in used)]


def _let_in(v: View, component: str, port: int) -> Obj:
    """Lets this service's pods in at a component of the credits service, and says nothing of what leaves it."""
    peers = peers_in_namespace(v.service.selector(api.COMPONENT))
    made = policy(
        v.service.metadata(f"-to-{component}", api.COMPONENT),
        v.credits_service.selector(component),
        ingress=[ingress(peers, port)],
    )
    made["spec"]["policyTypes"] = ["Ingress"]
    made["spec"].pop("egress", None)
    return made


def _to_credits(v: View) -> Rule:
    return egress(peers_in_namespace(v.credits_service.selector(api.COMPONENT)), HTTP_PORT)


def _to(v: View, store: Store, seen: Observation) -> Rule:
    """To the managed pod; or to the port of an external URI, at any address: a policy knows no host names."""
    if store.component is not None:
        return egress(peers_in_namespace(v.credits_service.selector(store.component)), store.port)
    return egress((), uri_port(secret_value(seen.objects.get(store.secret), store.key), store.port))
