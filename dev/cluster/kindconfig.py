"""kind's configuration: one node, tuned for a developer's machine."""

import json
from pathlib import Path
from typing import Any

KIND_API = "kind.x-k8s.io/v1alpha4"
PATCHES = Path(__file__).with_name("kubeadm-patches")
PATCHES_IN_NODE = "/kind/shieldx-patches"

CLUSTER_CONFIGURATION = {
    "kind": "ClusterConfiguration",
    "etcd": {"local": {"extraArgs": {"unsafe-no-fsync": "true"}}},  # the data of a local cluster may be lost
    "controllerManager": {"extraArgs": {"leader-elect": "false", "horizontal-pod-autoscaler-sync-period": "5s"}},
    "scheduler": {"extraArgs": {"leader-elect": "false"}},
}
# kubeadm's requests take 0.65 of a core, a third of a small machine. The patches ask for half of that.
INIT_CONFIGURATION = {"kind": "InitConfiguration", "patches": {"directory": PATCHES_IN_NODE}}
KUBELET_CONFIGURATION = {"kind": "KubeletConfiguration", "serializeImagePulls": False}


def render(networking: dict[str, Any] | None = None) -> str:
    """The configuration as JSON, which is YAML too. ``networking`` is kind's field of that name."""
    patches = (CLUSTER_CONFIGURATION, INIT_CONFIGURATION, KUBELET_CONFIGURATION)
    node = {
        "role": "control-plane",
        "extraMounts": [{"hostPath": str(PATCHES), "containerPath": PATCHES_IN_NODE, "readOnly": True}],
    }
    document: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": KIND_API,
        "nodes": [node],
        "kubeadmConfigPatches": [json.dumps(patch) for patch in patches],
    }
    if networking:
        document["networking"] = networking
    return json.dumps(document, indent=2)
