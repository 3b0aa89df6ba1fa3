"""Claims and one-pod StatefulSets: how the platform keeps data."""

from dataclasses import dataclass

from shieldx_operator.blocks.meta import Service, obj
from shieldx_operator.blocks.resources import PVC, SERVICE, STATEFUL_SET
from shieldx_operator.blocks.workload import Volumes, container_security, pod_security
from shieldx_operator.engine.types import Obj


def claim(metadata: Obj, *, size: str, storage_class: str | None) -> Obj:
    """A claim of its own rather than a claim template: it can grow, and its owner can change."""
    spec: Obj = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return obj(PVC, metadata, spec=spec)


@dataclass(frozen=True, slots=True)
class Store:
    """A single-pod store: what its container runs, and as whom."""

    component: str
    image: str
    pull_policy: str
    uid: int
    port: int
    args: tuple[str, ...]
    env: tuple[Obj, ...]
    probes: Obj
    volumes: Volumes
    resources: Obj
    grace_s: int
    scheduling: Obj
    pull_secrets: tuple[Obj, ...] = ()


def stateful_set(service: Service, suffix: str, store: Store) -> Obj:
    """One pod of `store` with a stable name. The old pod is gone before a new one starts: one writer to a volume."""
    container: Obj = {
        "name": store.component,
        "image": store.image,
        "imagePullPolicy": store.pull_policy,
        "args": list(store.args),
        "ports": [{"name": store.component, "containerPort": store.port, "protocol": "TCP"}],
        "resources": store.resources,
        "securityContext": container_security(),
        "volumeMounts": list(store.volumes.mounts),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **store.probes,
    }
    if store.env:
        container["env"] = list(store.env)
    pod: Obj = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(store.uid),
        "terminationGracePeriodSeconds": store.grace_s,
        "containers": [container],
        "volumes": list(store.volumes.volumes),
        **store.scheduling,
    }
    if store.pull_secrets:
        pod["imagePullSecrets"] = list(store.pull_secrets)
    metadata = service.metadata(suffix, store.component)
    return obj(
        STATEFUL_SET,
        metadata,
        spec={
            "replicas": 1,
            "serviceName": metadata["name"],
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": service.selector(store.component)},
            "template": {"metadata": {"labels": service.labels(store.component)}, "spec": pod},
        },
    )


def store_service(service: Service, suffix: str, store: Store) -> Obj:
    """A cluster address that outlives the pod: a client whose store restarts needs no new DNS answer."""
    return obj(
        SERVICE,
        service.metadata(suffix, store.component),
        spec={
            "type": "ClusterIP",
            "selector": service.selector(store.component),
            "ports": [{"name": store.component, "port": store.port, "targetPort": store.component, "protocol": "TCP"}],
        },
    )
