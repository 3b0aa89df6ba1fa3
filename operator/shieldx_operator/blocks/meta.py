"""Names, labels and metadata: the same for each object of a service."""

from dataclasses import dataclass

from shieldx_contract import (
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    LABEL_NAME,
    LABEL_PART_OF,
    PART_OF,
)
from shieldx_operator.engine.names import RETAIN_ANNOTATION
from shieldx_operator.engine.types import Obj, Resource


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the platform: the namespace and name of its custom resource, and the application it runs."""

    namespace: str
    name: str
    app: str

    def labels(self, component: str) -> dict[str, str]:
        return {
            LABEL_NAME: self.app,
            LABEL_PART_OF: PART_OF,
            **self.selector(component),
        }

    def selector(self, component: str | None = None) -> dict[str, str]:
        """The labels that pods are selected by: few, and never changed."""
        labels = {LABEL_NAME: self.app, LABEL_INSTANCE: self.name}
        return labels if component is None else {**labels, LABEL_COMPONENT: component}

    def label_selector(self) -> str:
        return ",".join(f"{k}={v}" for k, v in sorted(self.selector().items()))

    def metadata(self, suffix: str, component: str, *, retain: bool = False) -> Obj:
        """Metadata of the object `<name><suffix>`; `retain` keeps it when the custom resource is deleted."""
        meta: Obj = {
            "name": f"{self.name}{suffix}",
            "namespace": self.namespace,
            "labels": self.labels(component),
        }
        if retain:
            meta["annotations"] = {RETAIN_ANNOTATION: "true"}
        return meta

    def host(self, suffix: str = "") -> str:
        """The DNS name of the Service `<name><suffix>`, good from every namespace of the cluster."""
        return f"{self.name}{suffix}.{self.namespace}.svc"


def auth_secret_name(service_name: str) -> str:
    """The Secret that holds a service's admin key and pepper; tenants' objects need it too."""
    return f"{service_name}-auth"


def obj(resource: Resource, metadata: Obj, **fields: object) -> Obj:
    """A Kubernetes object out of its parts; fields that are None are left out."""
    body: Obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    body.update({k: v for k, v in fields.items() if v is not None})
    return body
