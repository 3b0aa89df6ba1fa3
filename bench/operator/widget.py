"""A small kind to measure and test the engine with: a Widget makes a ConfigMap, and what else its spec asks for.

spec.data       the ConfigMap's data
spec.second     a second ConfigMap, which is pruned when the field goes
spec.password   a Secret with a generated password, which outlives the Widget
spec.call       a URL that is called after the objects are there
spec.finalizer  whether the Widget must be let go by the engine
spec.stall      what the user must change
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shieldx_operator.engine.names import RETAIN_ANNOTATION
from shieldx_operator.engine.types import (
    Condition,
    GeneratedSecret,
    HttpCall,
    Obj,
    Observation,
    Plan,
    Reads,
    Ref,
    Resource,
    Results,
    Stall,
    Status,
)

CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps")
SECRETS = Resource("", "v1", "Secret", "secrets")
CRDS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)


def widgets(group: str) -> Resource:
    return Resource(group, "v1", "Widget", "widgets")


def crd(group: str) -> Obj:
    """The CustomResourceDefinition of Widget in `group`."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    status = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"type": "string"}},
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
            "inventory": {"type": "array", "x-kubernetes-list-type": "atomic", "items": anything},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": status}}},
    }
    return {
        "apiVersion": CRDS.api_version,
        "kind": CRDS.kind,
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [version],
        },
    }


@dataclass(frozen=True, slots=True)
class WidgetKind:
    """The kind as the engine sees it."""

    group: str

    @property
    def resource(self) -> Resource:
        return widgets(self.group)

    @property
    def owned(self) -> Sequence[Resource]:
        return (CONFIG_MAPS, SECRETS)

    def reads(self, parent: Obj) -> Reads:
        return Reads(objects=[_ref(parent, CONFIG_MAPS)])

    def plan(self, seen: Observation) -> Plan:
        spec = seen.parent.get("spec") or {}
        if "stall" in spec:
            raise Stall("Refused", str(spec["stall"]))
        if spec.get("bug"):
            raise RuntimeError("a bug that this Widget brings out")
        calls = _calls(seen.parent, spec.get("call"))
        if seen.deleting:
            return Plan(calls=calls, finalizer=False)
        apply: list[Obj | GeneratedSecret] = []
        if "password" in spec:
            apply.append(
                GeneratedSecret(
                    {**_meta(seen.parent, "-auth"), "annotations": {RETAIN_ANNOTATION: "true"}},
                    random={"password": 24},
                    derived={"uri": "redis://:{password}@cache:6379/0"},
                )
            )
        apply.append(_config_map(seen.parent, "", spec.get("data") or {}))
        if "second" in spec:
            apply.append(_config_map(seen.parent, "-second", spec["second"]))
        return Plan(apply=apply, calls=calls, finalizer=bool(spec.get("finalizer")) or None)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002
        size = len((seen.parent.get("spec") or {}).get("data") or {})
        return Status([Condition("Ready", "True", "Applied", "everything is there")], {"size": size})


def widget(group: str, namespace: str, name: str, **spec: object) -> Obj:
    resource = widgets(group)
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def _meta(parent: Obj, suffix: str) -> Obj:
    return {"namespace": parent["metadata"]["namespace"], "name": parent["metadata"]["name"] + suffix}


def _ref(parent: Obj, resource: Resource, suffix: str = "") -> Ref:
    meta = _meta(parent, suffix)
    return Ref(resource, meta["namespace"], meta["name"])


def _config_map(parent: Obj, suffix: str, data: Obj) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(parent, suffix), "data": data}


def _calls(parent: Obj, url: str | None) -> list[HttpCall]:
    if url is None:
        return []
    return [HttpCall("tell", "PUT", url, bearer="bench", json={"name": parent["metadata"]["name"]}, timeout_s=2)]
