"""What Backup, BackupPolicy and Restore speak of: one policy, the service that it copies, and their Secrets."""

from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.types import Obj, Ref
from tests.unit.kinds.world import secret

POLICY: Obj = {
    "kind": "BackupPolicy",
    "metadata": {"name": "nightly", "namespace": "team"},
    "spec": {
        "serviceRef": {"name": "credits"},
        "destination": {"s3": {"endpoint": "http://s3.test:9000", "bucket": "copies", "credentials": {"name": "s3"}}},
        "encryption": {"secretRef": {"name": "keys"}, "activeKey": "k1"},
        "deadlineSeconds": 1000,
    },
    "status": {"version": "0.9.0"},
}


def credits_service(database: Obj | None = None) -> Obj:
    effective = {"database": database or {"managed": {}}, "cache": {"managed": {}}}
    return {"metadata": {"name": "credits", "namespace": "team"}, "status": {"effective": effective}}


def held_secrets() -> dict[Ref, Obj]:
    """Keys, an account of the object store, and the URIs of the service's stores."""
    held = {
        "keys": {"k1": "x"},
        "s3": {"access-key-id": "a", "secret-access-key": "b"},
        "credits-db": {"uri": "postgresql://u:p@credits-db.team.svc:5432/credits"},
        "credits-cache": {"uri": "redis://:p@credits-cache.team.svc:6379/0"},
    }
    return {Ref(SECRET, "team", name): secret("team", name, values) for name, values in held.items()}


def environment(job: Obj) -> dict[str, str]:
    return {e["name"]: e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
