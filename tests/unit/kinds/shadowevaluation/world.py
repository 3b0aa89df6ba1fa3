"""A world with one evaluation, its samples and the workers that report."""

import copy
import dataclasses
from typing import Any

from shieldx_operator.blocks.resources import CONFIG_MAP
from shieldx_operator.engine.types import Obj, Ref, Results, Status
from shieldx_operator.kinds.shadowevaluation import ShadowEvaluationKind
from shieldx_operator.kinds.shadowevaluation.view import View, view
from shieldx_verdict import Counts, Matrix
from tests.unit.kinds.world import SETTINGS, World

RULE: Obj = {"id": "rule-001", "type": "signature", "pattern": "' or '1'='1"}
SPEC: Obj = {
    "rule": RULE,
    "data": {"configMap": {"name": "samples", "key": "samples.ndjson"}},
    "shards": 2,
    "gates": {"minPrecision": 0.8},
}
GOOD = Counts(Matrix(tp=95, fp=2, tn=880, fn=13))


class Shadow(World):
    """A world with one evaluation and its samples, whose workers' entries outlive the operator's own status."""

    def __init__(self, spec: Obj | None = None, **settings: Any) -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "ShadowEvaluation",
            "metadata": {"namespace": "team", "name": "sqli", "uid": "u1", "generation": 1},
            "spec": copy.deepcopy({**SPEC, **(spec or {})}),
        }
        super().__init__(ShadowEvaluationKind(dataclasses.replace(SETTINGS, **settings)), parent)
        self.lists |= {"same question": [], "Job warnings": [], "api server": []}
        self.samples({"samples.ndjson": "{}"})

    def samples(self, data: dict[str, str]) -> None:
        self.objects[Ref(CONFIG_MAP, "team", "samples")] = {"metadata": {"name": "samples"}, "data": data}

    def status(self, results: Results | None = None) -> Status:
        shards = self.parent.get("status", {}).get("shards")
        told = super().status(results)
        if shards is not None:
            self.parent["status"]["shards"] = shards
        return told

    @property
    def view(self) -> View:
        return view(self.parent, SETTINGS)

    def report(self, index: int, **entry: Any) -> None:
        """What the worker of a shard writes; a shard that is done again replaces its entry."""
        made = {
            "index": index,
            "question": self.view.question,
            "finishedAt": self.now.isoformat(),
            "datasetDigest": "sha256:aa",
            "engine": "shieldx 1.0.0",
            "counts": GOOD.to_dict(),
            **entry,
        }
        told = self.parent.setdefault("status", {})
        told["shards"] = [*(s for s in told.get("shards", ()) if s["index"] != index), made]

    @property
    def job(self) -> Obj | None:
        jobs = [o for r, o in self.objects.items() if r.resource.kind == "Job"]
        assert len(jobs) <= 1
        return jobs[0] if jobs else None

    def end_job(self, condition: str, reason: str = "", message: str = "") -> None:
        assert self.job is not None
        told = {"type": condition, "status": "True", "reason": reason, "message": message}
        self.job["status"] = {"conditions": [told], "completionTime": self.now.isoformat()}

    def apply(self, kind: str) -> Obj:
        return next(o for o in self.plan().apply if isinstance(o, dict) and o["kind"] == kind)

    def kinds(self) -> set[str]:
        """Of what the evaluation is made of now."""
        return {r.resource.kind for r in self.objects if r.name != "samples"}

    def step(self) -> Any:
        """As the engine does it: what is neither planned nor kept is gone."""
        inventory = {r for r in self.objects if r.name.startswith("sqli-")}
        plan = super().step()
        wanted = set(plan.keep) | {r for r in self.objects if any(_names(o, r) for o in plan.apply)}
        for ref in inventory - wanted:
            del self.objects[ref]
        return plan


def _names(built: Any, ref: Ref) -> bool:
    return bool(built["kind"] == ref.resource.kind and built["metadata"]["name"] == ref.name)


def answered(spec: Obj | None = None) -> Shadow:
    w = Shadow(spec)
    w.step()
    for index in range(w.view.effective.shards):
        w.report(index)
    w.end_job("Complete")
    w.status()
    return w
