"""A world with one CreditsService, whose stores, migration and pods are as the test says."""

import copy
import dataclasses
from typing import Any

from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.creditsservice import CreditsServiceKind
from tests.unit.kinds.world import SETTINGS, World

MANAGED: Obj = {"database": {"managed": {}}, "cache": {"managed": {}}}
EXTERNAL: Obj = {
    "database": {"external": {"secretRef": {"name": "their-db"}}},
    "cache": {"external": {"secretRef": {"name": "their-cache", "key": "url"}}},
}


def service(spec: Obj | None = None) -> Obj:
    return {
        "apiVersion": "platform.shieldx.io/v1alpha1",
        "kind": "CreditsService",
        "metadata": {"namespace": "team", "name": "pay", "uid": "u1", "generation": 1},
        "spec": copy.deepcopy(MANAGED if spec is None else spec),
    }


def world(spec: Obj | None = None, **settings: Any) -> World:
    return World(CreditsServiceKind(dataclasses.replace(SETTINGS, **settings)), service(spec))


def make_stores_ready(w: World) -> None:
    for obj in w.objects.values():
        if obj["kind"] == "StatefulSet":
            obj["status"] = {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 1}


def finish_job(w: World, condition: str = "Complete", at: str = "2026-01-01T00:00:00Z") -> None:
    w.lists["jobs"][0]["status"] = {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": at}]}


def running(spec: Obj | None = None, **settings: Any) -> World:
    """A service whose pods serve."""
    w = world(spec, **settings)
    w.step()
    make_stores_ready(w)
    w.step()
    if not w.lists["jobs"]:
        w.step()
    finish_job(w)
    w.step()
    w.roll_out("pay", 3)
    w.status()
    return w


def kinds(w: World) -> set[str]:
    return {r.resource.kind for r in w.objects}
