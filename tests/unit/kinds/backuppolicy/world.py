"""A world with one policy whose Backups, Jobs and shipper end when the test says so."""

import copy
import json
from typing import Any

from shieldx_operator.blocks import stores
from shieldx_operator.blocks.resources import DEPLOYMENT, ref_of
from shieldx_operator.engine.types import GeneratedSecret, Obj, Plan, Ref
from shieldx_operator.kinds.backuppolicy import BackupPolicyKind
from tests.unit.kinds.backups import POLICY, credits_service, held_secrets
from tests.unit.kinds.world import SETTINGS, World

HOUR = 3600
_SIZE: Obj = {"sizeBytes": 4096, "durationSeconds": 1.5}


class Keeping(World):
    """A world with one policy whose Backups, Jobs and shipper end when the test says so."""

    def __init__(self, **spec: Any) -> None:
        parent = {
            "apiVersion": "platform.shieldx.io/v1alpha1",
            "kind": "BackupPolicy",
            "metadata": {
                "namespace": "team",
                "name": "nightly",
                "uid": "u1",
                "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": copy.deepcopy({**POLICY["spec"], "cache": {"enabled": False}, **spec}),
        }
        super().__init__(BackupPolicyKind(SETTINGS), parent)
        self.lists |= {"backups": []}
        self.objects[Ref(stores.CREDITS_RESOURCE, "team", "credits")] = credits_service()
        self.objects |= held_secrets()

    def step(self) -> Plan:
        """One look as the engine does it: apply, prune what is neither wanted nor kept, tell."""
        plan = self.plan()
        wanted = {r.name for r in plan.keep}
        for desired in plan.apply:
            body = self._secret(desired) if isinstance(desired, GeneratedSecret) else copy.deepcopy(desired)
            wanted.add(body["metadata"]["name"])
            body["metadata"] |= {"uid": f"uid-{body['metadata']['name']}", "creationTimestamp": self.now.isoformat()}
            if body["kind"] == "Backup":
                body["metadata"]["ownerReferences"] = [{"controller": True, "uid": "u1"}]
                if body["metadata"]["name"] not in self.names("backups"):
                    self.lists["backups"].append(body)
            elif body["kind"] == "Job":
                self.lists["jobs"].append(body)
            else:
                old = self.objects.get(ref_of(body), {})
                self.objects[ref_of(body)] = {**old, **body}
        for listed in ("backups", "jobs"):
            self.lists[listed] = [o for o in self.lists[listed] if o["metadata"]["name"] in wanted or _foreign(o)]
        self.status()
        return plan

    def settle(self) -> None:
        for _ in range(6):
            before = copy.deepcopy((self.parent.get("status"), self.lists))
            self.step()
            if before == (self.parent["status"], self.lists):
                return
        raise AssertionError("it does not settle")

    def names(self, listed: str) -> list[str]:
        return [o["metadata"]["name"] for o in self.lists[listed]]

    def ship(self) -> None:
        """The shipper's pod is up, where there is one."""
        live = self.objects.get(Ref(DEPLOYMENT, "team", "nightly-ship-audit"))
        if live is not None:
            live["status"] = {"availableReplicas": 1}

    def finish(self, name: str, failed: str = "") -> None:
        backup = next(b for b in self.lists["backups"] if b["metadata"]["name"] == name)
        now = self.now.isoformat()
        backup["status"] = (
            {"phase": "Failed", "completedAt": now, "failure": {"reason": failed, "message": "m"}}
            if failed
            else {"phase": "Succeeded", "takenAt": now, "completedAt": now, "verifiedAt": now, **_SIZE}
        )

    def finish_job(self, name: str, failed: str = "", container: str = "backup", **result: Any) -> None:
        job = next(j for j in self.lists["jobs"] if j["metadata"]["name"] == name)
        told = {"type": "Failed" if failed else "Complete", "status": "True"}
        job["status"] = {"conditions": [told]}
        document = {"failed": failed, "message": "m"} if failed else result
        end = {"exitCode": 9 if failed else 0, "message": json.dumps(document), "finishedAt": self.now.isoformat()}
        self.lists["pods"].append(
            {
                "metadata": {
                    "name": "p",
                    "labels": {"batch.kubernetes.io/job-name": name, "app.kubernetes.io/component": "drill"},
                },
                "status": {"containerStatuses": [{"name": container, "state": {"terminated": end}}]},
            }
        )

    def prove(self) -> None:
        """Copy, drill and pruning of now end well, and the audit log is shipped."""
        self.settle()
        self.ship()
        for _ in range(6):
            for backup in [b for b in self.lists["backups"] if "status" not in b]:
                self.finish(backup["metadata"]["name"])
            for job in [j for j in self.lists["jobs"] if "status" not in j]:
                self.finish_job(job["metadata"]["name"], rto_s=12.5, rpo_s=3.0)
            self.settle()


def _foreign(obj: Obj) -> bool:
    return obj["kind"] == "Backup" and not obj["metadata"].get("ownerReferences")


def no_audit(**spec: Any) -> Keeping:
    return Keeping(audit={"enabled": False}, drill={"enabled": False}, **spec)
