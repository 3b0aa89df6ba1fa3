"""A little cluster of plain objects: what a plan applies is there at the next look."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.engine.secrets import materialize
from shieldx_operator.engine.types import GeneratedSecret, Kind, Obj, Observation, Plan, Ref, Resource, Results, Status
from shieldx_operator.settings import OperatorSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = OperatorSettings.from_environment(
    {
        "POD_NAMESPACE": "shieldx-system",
        "SHIELDX_RUNTIME_IMAGE": "registry.test/platform:1.0.0",
        "SHIELDX_POSTGRES_IMAGE": "registry.test/postgres:15",
        "SHIELDX_REDIS_IMAGE": "registry.test/redis:7",
    }
)


def secret(namespace: str, name: str, values: Mapping[str, str], version: str = "1") -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}", "resourceVersion": version},
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in values.items()},
    }


def mounted(pod: Obj, container: Obj | None = None) -> dict[str, str]:
    """Names of Secrets by where a container, the pod's first if none is named, has them."""
    named = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    mounts = (container or pod["containers"][0])["volumeMounts"]
    return {m["mountPath"]: named[m["name"]] for m in mounts if m["name"] in named}


class World:
    """Reads, plans and tells for one object, and keeps what was applied."""

    def __init__(self, kind: Kind, parent: Obj) -> None:
        self.kind = kind
        self.parent = parent
        self.objects: dict[Ref, Obj] = {}
        self.lists: dict[str, list[Obj]] = {"pods": [], "jobs": []}
        self.now = START
        self._drawn = 0

    def seen(self) -> Observation:
        return Observation(self.parent, dict(self.objects), self.lists, self.now)

    def plan(self) -> Plan:
        self.kind.reads(self.parent)
        return self.kind.plan(self.seen())

    def step(self) -> Plan:
        """One reconcile: what is planned is there afterwards, and what is planned no more is gone."""
        plan = self.plan()
        wanted = set(plan.keep)
        for desired in plan.apply:
            body = self._secret(desired) if isinstance(desired, GeneratedSecret) else desired
            ref = ref_of(body)
            wanted.add(ref)
            old = self.objects.get(ref, {})
            meta = {"uid": f"uid-{ref}", "generation": 1, "resourceVersion": "1", **body["metadata"]}
            self.objects[ref] = {**old, **body, "metadata": meta}
            if body["kind"] == "Job" and ref not in {ref_of(j) for j in self.lists["jobs"]}:
                self.lists["jobs"].append(self.objects[ref])
        self.lists["jobs"] = [j for j in self.lists["jobs"] if ref_of(j) in wanted]
        return plan

    def status(self, results: Results | None = None) -> Status:
        status = self.kind.status(self.seen(), self.plan(), results or Results())
        self.parent["status"] = {
            **status.fields,
            "conditions": [
                {"type": c.type, "status": c.status, "reason": c.reason, "message": c.message}
                for c in status.conditions
            ],
        }
        return status

    def condition(self, kind: str, results: Results | None = None) -> Any:
        return next(c for c in self.status(results).conditions if c.type == kind)

    def one(self, kind: str, name: str) -> Obj:
        return next(o for r, o in self.objects.items() if r.resource.kind == kind and r.name == name)

    def roll_out(self, name: str, replicas: int) -> None:
        """All pods of a Deployment serve."""
        deployment = self.one("Deployment", name)
        deployment["spec"].setdefault("replicas", replicas)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        deployment["status"] = {"observedGeneration": 1, **counts}

    @property
    def told(self) -> Obj:
        """The status as it was last told."""
        told: Obj = self.parent["status"]
        return told

    def put(self, resource: Resource, name: str, obj: Obj) -> None:
        """An object of the namespace `team`."""
        self.objects[Ref(resource, "team", name)] = obj

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _secret(self, wanted: GeneratedSecret) -> Obj:
        name = wanted.metadata["name"]
        old = next((o for r, o in self.objects.items() if r.resource.kind == "Secret" and r.name == name), None)
        return materialize(wanted, old, self._bytes)

    def _bytes(self, size: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(size, "big")
