"""Namespaces compared: everything that differs from one life to the next by itself is taken out."""

import base64
import json
import re
from typing import Any, Final

from shieldx_contract import LABEL_MANAGED_BY, LABEL_OWNER_KIND, MANAGED_BY
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.names import APPLIED_ANNOTATION
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.creditsservice import RESOURCE as SERVICES
from shieldx_operator.kinds.creditsservice.plan import OWNED
from shieldx_operator.kinds.tenant import RESOURCE as TENANTS
from shieldx_operator.kinds.tenant.plan import RENEWED_ANNOTATION
from tests.e2e.operator.site import Site

Snapshot = dict[str, Obj]
"""Normalized objects by `Kind name`."""

_SYSTEM: Final = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
_IDENTITY: Final = ("uid", "resourceVersion", "creationTimestamp", "generation", "generateName", "selfLink")
_UNSTABLE: Final = re.compile(r"^(?:.*Time|.*At|.*ID|id|clusterIPs?|volumeName|controller-uid|observedGeneration)$")
_JOB_NAME: Final = re.compile(r"-migrate-[0-9a-f]{10}\b")
_CHOSEN: Final = ("username", "database", "host", "port", "tenant-id", "endpoint", "key-id", "previous-key-id")
"""Keys of generated Secrets whose values are no secret."""
_NO_SECRET: Final = frozenset({"admin-id"})


def everything(site: Site, namespace: str) -> list[Obj]:
    """Custom resources and what may be made for them, and nothing of what each namespace has."""
    found = [obj for resource in (SERVICES, TENANTS, *OWNED) for obj in site.list(resource, namespace)]
    return [o for o in found if (o["kind"], o["metadata"]["name"]) not in _SYSTEM]


def owned(site: Site, namespace: str) -> list[str]:
    """What has an owner, and so must go with it."""
    return [_address(o) for o in everything(site, namespace) if o["metadata"].get("ownerReferences")]


def versions(site: Site, namespace: str) -> dict[str, str]:
    """The resource version of every object."""
    return {_address(o): o["metadata"]["resourceVersion"] for o in everything(site, namespace)}


def snapshot(site: Site, namespace: str) -> Snapshot:
    return {_stable(_address(o), namespace): normalized(o, namespace) for o in everything(site, namespace)}


def orphans(site: Site, namespace: str) -> set[str]:
    """Objects that carry the operator's label and that no custom resource's inventory names."""
    named = {
        (entry["kind"], entry["name"])
        for resource in (SERVICES, TENANTS)
        for parent in site.list(resource, namespace)
        for entry in parent.get("status", {}).get("inventory", ())
    }
    labelled = {
        (o["kind"], o["metadata"]["name"])
        for o in everything(site, namespace)
        if (o["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY
        and LABEL_OWNER_KIND in o["metadata"]["labels"]
    }
    return {" ".join(pair) for pair in labelled ^ named}


def normalized(obj: Obj, namespace: str) -> Obj:
    """An object without identity, times and generated values; managers of its fields stay."""
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _IDENTITY}
    managers = {(m["manager"], m["operation"], m.get("subresource", "")) for m in metadata.pop("managedFields", ())}
    notes = metadata.get("annotations") or {}
    metadata["annotations"] = {k: v for k, v in notes.items() if k not in (APPLIED_ANNOTATION, RENEWED_ANNOTATION)}
    metadata["ownerReferences"] = [
        {k: v for k, v in r.items() if k != "uid"} for r in metadata.get("ownerReferences", ())
    ]
    body = {**obj, "metadata": metadata, "managers": sorted(managers)}
    if obj["kind"] == "Secret":
        body["data"] = {k: len(base64.b64decode(v)) for k, v in (obj.get("data") or {}).items()}
    if obj["kind"] not in (SERVICES.kind, TENANTS.kind):
        body.pop("status", None)
    stripped: Obj = json.loads(_stable(json.dumps(_without_unstable(body)), namespace))
    return stripped


def guarded(secret: Obj) -> set[str]:
    """The values of a Secret that must be seen nowhere else, and the random parts of them."""
    if secret["kind"] != SECRET.kind:
        return set()
    values = (secret.get("data") or {}).items()
    open_keys = {*_CHOSEN, *_NO_SECRET}
    return {base64.b64decode(v).decode().strip() for k, v in values if k not in open_keys and v}


def _without_unstable(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_unstable(v) for k, v in value.items() if not _UNSTABLE.match(k) and "-uid" not in k}
    if isinstance(value, list):
        return [_without_unstable(v) for v in value]
    return value


def _stable(text: str, namespace: str) -> str:
    return _JOB_NAME.sub("-migrate-X", text.replace(namespace, "NAMESPACE"))


def _address(obj: Obj) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


def difference(one: Snapshot, other: Snapshot) -> list[str]:
    """What differs, by path; empty where nothing does."""
    return sorted(_differences(one, other, ""))


def _differences(one: Any, other: Any, path: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [d for k in keys for d in _differences(one.get(k), other.get(k), f"{path}/{k}")]
    if one == other:
        return []
    return [f"{path}: {json.dumps(one)[:300]} != {json.dumps(other)[:300]}"]
