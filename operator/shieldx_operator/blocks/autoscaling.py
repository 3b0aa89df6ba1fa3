"""How many pods: the autoscaler, and the budget that keeps enough of them through voluntary disruptions."""

from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import HPA, PDB
from shieldx_operator.engine.types import Obj


def utilization_autoscaler(
    metadata: Obj,
    *,
    min_replicas: int,
    max_replicas: int,
    cpu_percent: int,
    memory_percent: int | None,
    scale_down_stabilization_s: int,
) -> Obj:
    """A v2 autoscaler of the Deployment of the same name; shrinks by one pod a minute at most."""
    targets = {"cpu": cpu_percent, "memory": memory_percent}
    return obj(
        HPA,
        metadata,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]},
            "minReplicas": min_replicas,
            "maxReplicas": max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}},
                }
                for name, percent in targets.items()
                if percent is not None
            ],
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": scale_down_stabilization_s,
                    "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    )


def woken(workload: Obj, live: Obj | None) -> Obj:
    """The Deployment `workload`, with one pod where somebody has scaled it to none.

    An autoscaler leaves such a Deployment alone for good. From one pod on it decides; the look after this one withdraws
    the field again.
    """
    if live is None or live["spec"].get("replicas", 1) != 0:
        return workload
    return {**workload, "spec": {**workload["spec"], "replicas": 1}}


def disruption_budget(metadata: Obj, *, selector: dict[str, str], min_available: int) -> Obj:
    """Refuses an eviction that would leave fewer than `min_available`; a pod that isn't ready may always be evicted."""
    return obj(
        PDB,
        metadata,
        spec={
            "minAvailable": min_available,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )
