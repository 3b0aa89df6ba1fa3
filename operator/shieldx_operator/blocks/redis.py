"""A managed Redis of one pod: a cache, whose loss costs hits and never truth.

It follows the contract of the public `redis` image: `redis-server FILE`, UID 999. The password is in a file that the
configuration includes, never in an argument.
"""

from typing import Final

from shieldx_contract import SECRET_URI_KEY
from shieldx_operator.blocks.meta import Service, obj
from shieldx_operator.blocks.resources import CONFIG_MAP
from shieldx_operator.blocks.storage import Store, claim, stateful_set, store_service
from shieldx_operator.blocks.workload import (
    claim_volume,
    config_volume,
    secret_volume,
)
from shieldx_operator.engine.types import GeneratedSecret, Obj

SUFFIX: Final = "-cache"
COMPONENT: Final = "cache"
PORT: Final = 6379
UID: Final = 999
_CONFIG_DIR: Final = "/etc/redis"
_AUTH_DIR: Final = "/etc/redis-auth"
_AUTH_KEY: Final = "auth.conf"


def configuration(max_memory: str) -> str:
    return "\n".join(
        (
            f"port {PORT}",
            f"include {_AUTH_DIR}/{_AUTH_KEY}",
            "dir /data",
            "save 3600 1 300 1000",  # a warm start after a restart; nothing depends on it
            "appendonly no",
            f"maxmemory {max_memory.lower()}",
            "maxmemory-policy allkeys-lru",
            "tcp-keepalive 60",
            "timeout 0",
            "",
        )
    )


def redis_bytes(quantity: str) -> str:
    """`64Mi` is `64mb` to Redis: its `mb` counts in 1024s."""
    for unit, redis_unit in (("Ki", "kb"), ("Mi", "mb"), ("Gi", "gb")):
        if quantity.endswith(unit):
            return quantity.removesuffix(unit) + redis_unit
    return quantity


def build(  # noqa: PLR0913 - each is one choice of the user's spec
    service: Service,
    *,
    image: str,
    pull_policy: str,
    max_memory: str,
    size: str,
    storage_class: str | None,
    retain: bool,
    resources: Obj,
    scheduling: Obj,
    pull_secrets: tuple[Obj, ...] = (),
) -> list[Obj | GeneratedSecret]:
    """Secret, configuration, claim, Service and StatefulSet. `retain` keeps password and data when the owner goes."""
    name = f"{service.name}{SUFFIX}"
    host = service.host(SUFFIX)
    # redis-cli takes the password from its environment: an argument would show it to everyone on the node
    ping = ("sh", "-c", f'REDISCLI_AUTH="$(cut -d" " -f2 {_AUTH_DIR}/{_AUTH_KEY})" redis-cli ping | grep -q PONG')
    probe = {"exec": {"command": list(ping)}, "timeoutSeconds": 5}
    store = Store(
        component=COMPONENT,
        image=image,
        pull_policy=pull_policy,
        uid=UID,
        port=PORT,
        args=("redis-server", f"{_CONFIG_DIR}/redis.conf"),
        env=(),
        probes={
            "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
            "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
            "livenessProbe": {**probe, "periodSeconds": 20, "failureThreshold": 6},
        },
        volumes=config_volume("config", name, _CONFIG_DIR)
        + secret_volume("auth", name, _AUTH_DIR, (_AUTH_KEY,))
        + claim_volume("data", name, "/data"),
        resources=resources,
        grace_s=10,
        scheduling=scheduling,
        pull_secrets=pull_secrets,
    )
    return [
        GeneratedSecret(
            metadata=service.metadata(SUFFIX, COMPONENT, retain=retain),
            random={"password": 32},
            derived={
                _AUTH_KEY: "requirepass {password}\n",
                SECRET_URI_KEY: f"redis://:{{password}}@{host}:{PORT}/0",
            },
        ),
        obj(
            CONFIG_MAP,
            service.metadata(SUFFIX, COMPONENT),
            data={"redis.conf": configuration(redis_bytes(max_memory))},
        ),
        claim(service.metadata(SUFFIX, COMPONENT, retain=retain), size=size, storage_class=storage_class),
        store_service(service, SUFFIX, store),
        stateful_set(service, SUFFIX, store),
    ]
