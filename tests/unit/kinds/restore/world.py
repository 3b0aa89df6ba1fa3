"""A world with one Restore, the policy and the service that it speaks of, and pods that write."""

import copy
import json

from shieldx_operator.blocks import hold, stores
from shieldx_operator.blocks.resources import JOB, SECRET, ref_of
from shieldx_operator.engine.types import Obj, Plan, Ref
from shieldx_operator.kinds.restore import RestoreKind
from shieldx_operator.kinds.restore.view import POLICY_RESOURCE
from tests.unit.kinds.backups import POLICY, credits_service, held_secrets
from tests.unit.kinds.world import SETTINGS, World, secret

IN_PLACE: Obj = {
    "source": {"policyRef": {"name": "nightly"}},
    "target": {"name": "credits", "mode": "InPlace"},
    "confirm": "credits",
}
NEW: Obj = {"source": {"policyRef": {"name": "nightly"}}, "target": {"name": "second", "mode": "NewService"}}
RESULT: Obj = {
    "backup": "20260101T000000Z-1a2b3c4d",
    "taken_at": "2026-01-01T00:00:00.000Z",
    "replayed": {"segments": 2, "rows": 40, "to": "2026-01-01T00:05:00.000Z"},
    "safety_copy": "credits_before_1",
    "restore_s": 8.5,
    "timeline": [{"at_s": 0.1, "step": "writers stopped", "database": "credits_before_1"}],
}
HOLD = hold.ref("team", "credits")
SECOND_HOLD = hold.ref("team", "second")


def pod(name: str, component: str, phase: str = "Running") -> Obj:
    labels = {"app.kubernetes.io/component": component}
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}


class Restoring(World):
    """A world with one Restore, the policy and the service that it speaks of, and pods that write."""

    def __init__(self, spec: Obj = IN_PLACE) -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "Restore",
            "metadata": {"namespace": "team", "name": "undo", "uid": "u1", "generation": 1},
            "spec": copy.deepcopy(spec),
        }
        super().__init__(RestoreKind(SETTINGS), parent)
        self.lists |= {"service pods": [], "copying pods": [], "policies": [POLICY], "Job warnings": []}
        self.put(POLICY_RESOURCE, "nightly", copy.deepcopy(POLICY))
        self.objects |= held_secrets()
        for store in ("second-db", "second-cache"):
            self.put(SECRET, store, secret("team", store, {"uri": "postgresql://h/d"}))
        for name in ("credits", "second"):
            service = credits_service()
            service["metadata"]["name"] = name
            self.put(stores.CREDITS_RESOURCE, name, service)

    def step(self) -> Plan:
        """As the engine does it: what is neither planned nor kept is gone; then it tells."""
        plan = super().step()
        wanted = {ref_of(o) for o in plan.apply if isinstance(o, dict)} | set(plan.keep)
        for ref in [r for r in self.objects if r.name.startswith("undo-") or r in (HOLD, SECOND_HOLD)]:
            if ref not in wanted:
                del self.objects[ref]
        self.status()
        return plan

    def settle(self) -> Plan:
        for _ in range(6):
            before = copy.deepcopy((self.parent.get("status"), self.objects))
            plan = self.step()
            if before == (self.parent["status"], self.objects):
                return plan
        raise AssertionError("it does not settle")

    def job(self, name: str = "restore") -> Obj | None:
        return self.objects.get(Ref(JOB, "team", f"undo-{name}"))

    def end(self, document: Obj | None, *, name: str = "restore", code: int = 0) -> None:
        job = self.job(name)
        assert job is not None
        job["status"] = {"conditions": [{"type": "Failed" if code else "Complete", "status": "True"}]}
        text = json.dumps(document) if document is not None else None
        end = {"exitCode": code, "message": text, "finishedAt": "2026-01-01T00:09:00Z"}
        made = pod(f"p-{name}", "restore", "Failed" if code else "Succeeded")
        made["metadata"]["labels"]["batch.kubernetes.io/job-name"] = f"undo-{name}"
        made["status"]["containerStatuses"] = [{"name": "backup", "state": {"terminated": end}}]
        self.lists["pods"].append(made)


def command(job: Obj | None) -> list[str]:
    assert job is not None
    found: list[str] = job["spec"]["template"]["spec"]["containers"][0]["command"][4:]
    return found
