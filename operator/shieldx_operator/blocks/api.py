"""An HTTP API of the platform: its account, Service and Deployment. What several kinds serve is built the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shieldx_contract import (
    ENV_HEALTH_PORT,
    ENV_HTTP_HOST,
    ENV_HTTP_PORT,
    HEALTH_PORT,
    HEALTH_PORT_NAME,
    HTTP_PORT,
    HTTP_PORT_NAME,
    RUNTIME_UID,
)
from shieldx_operator.blocks.meta import Service, obj
from shieldx_operator.blocks.resources import CONFIG_MAP, DEPLOYMENT, SERVICE, SERVICE_ACCOUNT
from shieldx_operator.blocks.workload import (
    Volumes,
    container_security,
    digest,
    http_probes,
    pod_security,
    spread,
)
from shieldx_operator.engine.types import Obj

COMPONENT: Final = "api"
VERSION_LABEL: Final = "app.kubernetes.io/version"
CONFIGURATION_ANNOTATION: Final = "platform.shieldx.io/configuration"
LISTENING: Final[Mapping[str, str]] = {
    ENV_HTTP_HOST: "0.0.0.0",  # noqa: S104 - inside the pod; the NetworkPolicy says who gets there
    ENV_HTTP_PORT: str(HTTP_PORT),
    ENV_HEALTH_PORT: str(HEALTH_PORT),
}


@dataclass(frozen=True, slots=True)
class Pods:
    """What pods of the runtime's image run, and where. `configuration` is the environment that they read once."""

    service: Service
    version: str
    image: str
    pull_policy: str
    pull_secrets: tuple[Obj, ...]
    scheduling: Obj
    volumes: Volumes
    configuration: Mapping[str, str]

    def container(self, name: str, command: tuple[str, ...], resources: Obj) -> Obj:
        return {
            "name": name,
            "image": self.image,
            "imagePullPolicy": self.pull_policy,
            "command": list(command),
            "envFrom": [{"configMapRef": {"name": f"{self.service.name}-config"}}],
            "securityContext": container_security(),
            # the last words of a failed program are the message of a condition
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": list(self.volumes.mounts),
            "resources": resources,
        }

    def template(self, component: str, container: Obj) -> Obj:
        spec: Obj = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(RUNTIME_UID),
            "containers": [container],
            "volumes": list(self.volumes.volumes),
            **self.scheduling,
        }
        if self.pull_secrets:
            spec["imagePullSecrets"] = list(self.pull_secrets)
        return {"metadata": {"labels": {**self.service.labels(component), VERSION_LABEL: self.version}}, "spec": spec}


def configuration(pods: Pods) -> Obj:
    return obj(CONFIG_MAP, pods.service.metadata("-config", COMPONENT), data=dict(pods.configuration))


def service_account(service: Service) -> Obj:
    return obj(SERVICE_ACCOUNT, service.metadata("", COMPONENT), automountServiceAccountToken=False)


def service_object(service: Service) -> Obj:
    return obj(
        SERVICE,
        service.metadata("", COMPONENT),
        spec={
            "type": "ClusterIP",
            "selector": service.selector(COMPONENT),
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


def deployment(pods: Pods, container: Obj, *, drain_delay_s: int, grace_s: int) -> Obj:
    """The API's pods. No replicas: they belong to the autoscaler. A rollout adds a pod before it takes one away."""
    service = pods.service
    selector = service.selector(COMPONENT)
    serving = {
        **container,
        "ports": [
            {"name": HTTP_PORT_NAME, "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": HEALTH_PORT_NAME, "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": drain_delay_s}}},
        **http_probes(),
    }
    template = pods.template(COMPONENT, serving)
    # only a change on purpose of the configuration restarts pods: they read it once, at their start
    template["metadata"]["annotations"] = {CONFIGURATION_ANNOTATION: digest(dict(pods.configuration))}
    template["spec"].update(
        {"serviceAccountName": service.name, "terminationGracePeriodSeconds": grace_s, **spread(selector)}
    )
    return obj(
        DEPLOYMENT,
        service.metadata("", COMPONENT),
        spec={
            "selector": {"matchLabels": selector},
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 300,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    )
