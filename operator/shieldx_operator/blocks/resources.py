"""The API resources that the operator works with, each declared once."""

from typing import Final

from shieldx_operator.engine.types import Obj, Ref, Resource

CONFIG_MAP: Final = Resource("", "v1", "ConfigMap", "configmaps")
SECRET: Final = Resource("", "v1", "Secret", "secrets")
SERVICE: Final = Resource("", "v1", "Service", "services")
SERVICE_ACCOUNT: Final = Resource("", "v1", "ServiceAccount", "serviceaccounts")
PVC: Final = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
POD: Final = Resource("", "v1", "Pod", "pods")
EVENT: Final = Resource("", "v1", "Event", "events")
DEPLOYMENT: Final = Resource("apps", "v1", "Deployment", "deployments")
STATEFUL_SET: Final = Resource("apps", "v1", "StatefulSet", "statefulsets")
CRON_JOB: Final = Resource("batch", "v1", "CronJob", "cronjobs")
JOB: Final = Resource("batch", "v1", "Job", "jobs")
HPA: Final = Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
PDB: Final = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
ROLE: Final = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDING: Final = Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
ENDPOINT_SLICE: Final = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")

_BY_TYPE: Final = {
    (r.api_version, r.kind): r
    for r in (
        CONFIG_MAP,
        SECRET,
        SERVICE,
        SERVICE_ACCOUNT,
        PVC,
        DEPLOYMENT,
        STATEFUL_SET,
        CRON_JOB,
        JOB,
        HPA,
        PDB,
        NETWORK_POLICY,
        ROLE,
        ROLE_BINDING,
    )
}


def ref_of(obj: Obj) -> Ref:
    """The address of an object that the operator builds."""
    meta = obj["metadata"]
    return Ref(_BY_TYPE[obj["apiVersion"], obj["kind"]], meta["namespace"], meta["name"])
