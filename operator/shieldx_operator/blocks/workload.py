"""Pods that may run anywhere: restricted security, probes, and templates that only change when they must."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shieldx_contract import HEALTH_PORT_NAME, LIVENESS_PATH, READINESS_PATH
from shieldx_operator.engine.types import Obj

TEMPLATE_ANNOTATION: Final = "platform.shieldx.io/pod-template"
TEMPLATE_DIGEST_ANNOTATION: Final = "platform.shieldx.io/pod-template-inputs"


def container_security() -> Obj:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def pod_security(uid: int) -> Obj:
    """What the Pod Security level `restricted` asks for; `fsGroup` makes volumes and Secrets readable to `uid`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def http_probes() -> Obj:
    """Startup, readiness and liveness over the health port.

    A start may take 60 s; afterwards 30 s of missed looks take a pod out of its Service and 60 s restart it. Readiness
    asks for the database, which all pods lose at once: out of the Service too early, callers would be refused a
    connection instead of being told by a 503 when to come again.
    """

    def get(path: str) -> Obj:
        return {"path": path, "port": HEALTH_PORT_NAME, "scheme": "HTTP"}

    return {
        "startupProbe": {"httpGet": get(LIVENESS_PATH), "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {
            "httpGet": get(READINESS_PATH),
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 15,
        },
        "livenessProbe": {
            "httpGet": get(LIVENESS_PATH),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def exec_probes(command: Sequence[str]) -> Obj:
    """Startup, readiness and liveness by a command in the container; a start may take 5 minutes (a crash recovery)."""
    run = {"exec": {"command": list(command)}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**run, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**run, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**run, "periodSeconds": 20, "failureThreshold": 6},
    }


@dataclass(frozen=True, slots=True)
class Volumes:
    """Volumes of a pod and where its container mounts them, kept together so that neither is forgotten."""

    volumes: tuple[Obj, ...] = ()
    mounts: tuple[Obj, ...] = ()

    def __add__(self, other: "Volumes") -> "Volumes":
        return Volumes(self.volumes + other.volumes, self.mounts + other.mounts)


def secret_volume(name: str, secret: str, path: str, keys: Sequence[str]) -> Volumes:
    """Only the named keys of a Secret, readable for the pod's group alone."""
    items = [{"key": k, "path": k} for k in keys]
    return Volumes(
        ({"name": name, "secret": {"secretName": secret, "defaultMode": 0o440, "items": items}},),
        ({"name": name, "mountPath": path, "readOnly": True},),
    )


def config_volume(name: str, config_map: str, path: str) -> Volumes:
    return Volumes(
        ({"name": name, "configMap": {"name": config_map, "defaultMode": 0o444}},),
        ({"name": name, "mountPath": path, "readOnly": True},),
    )


def scratch_volume(name: str, path: str, size: str) -> Volumes:
    return Volumes(
        ({"name": name, "emptyDir": {"sizeLimit": size}},),
        ({"name": name, "mountPath": path},),
    )


def claim_volume(name: str, claim: str, path: str) -> Volumes:
    return Volumes(
        ({"name": name, "persistentVolumeClaim": {"claimName": claim}},),
        ({"name": name, "mountPath": path},),
    )


def spread(selector: Mapping[str, str]) -> Obj:
    """Prefers pods of one component on different nodes and zones, and never blocks a pod for it."""
    labels = {"matchLabels": dict(selector)}
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": labels,
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {"labelSelector": labels, "topologyKey": "kubernetes.io/hostname"},
                    }
                ]
            }
        },
    }


def digest(value: Any) -> str:
    """A short, stable name for a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pinned_template(live: Obj | None) -> Obj | None:
    """The pod template that was last written on purpose, or None where there is none that can be trusted."""
    if live is None:
        return None
    notes = live["metadata"].get("annotations", {})
    text = notes.get(TEMPLATE_ANNOTATION, "")
    recorded = notes.get(TEMPLATE_DIGEST_ANNOTATION, "").partition(".")[2]
    if not text or recorded != hashlib.sha256(text.encode()).hexdigest()[:16]:
        return None
    template: Obj = json.loads(text)
    return template


def pin_template(fresh: Obj, live: Obj | None, inputs: str, *, hold: bool = False, formerly: str = "") -> Obj:
    """The workload `fresh` with the pod template that it must have now.

    A template is rewritten only when `inputs` (a digest of the user's spec and of the version) differ from those it
    was made of: a newer operator that would build it differently restarts nothing. With `hold` the old template
    stays whatever the inputs say (a migration has not been done). `formerly` are inputs that said the same with less:
    a template that was made of them stays, too, and from now on counts as made of `inputs`. The template that was
    written is kept in an annotation, so that a template changed by hand is still repaired.
    """
    notes = (live or {}).get("metadata", {}).get("annotations", {})
    old = pinned_template(live)
    old_inputs = notes.get(TEMPLATE_DIGEST_ANNOTATION, "").partition(".")[0]
    same = old_inputs in (inputs, formerly or inputs)
    keep_old = old is not None and (hold or same)
    template = old if keep_old and old is not None else fresh["spec"]["template"]
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    recorded = f"{old_inputs if keep_old and not same else inputs}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    meta = fresh["metadata"]
    annotations = {
        **meta.get("annotations", {}),
        TEMPLATE_ANNOTATION: text,
        TEMPLATE_DIGEST_ANNOTATION: recorded,
    }
    return {
        **fresh,
        "metadata": {**meta, "annotations": annotations},
        "spec": {**fresh["spec"], "template": template},
    }
