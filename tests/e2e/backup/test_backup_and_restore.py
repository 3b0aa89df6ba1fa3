"""A policy copies, proves and prunes by itself; its database is destroyed and comes back; a wrong key is told."""

import pytest

from shieldx_operator.blocks.resources import DEPLOYMENT, POD, SECRET
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.backup.view import RESOURCE as BACKUPS
from shieldx_operator.kinds.backuppolicy.view import RESOURCE as POLICIES
from shieldx_operator.kinds.restore.view import RESOURCE as RESTORES
from tests.e2e.backup.conftest import READY_WITHIN_S, ended
from tests.e2e.platform.world import SERVICES, World, condition
from tests.e2e.waiting import until

pytestmark = pytest.mark.timeout(1500)
POLICY: Obj = {
    "serviceRef": {"name": "credits"},
    "destination": {"persistentVolumeClaim": {"claimName": "copies"}},
    "encryption": {"secretRef": {"name": "keys"}},
    "drill": {"scratchSize": "1Gi"},
    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
}


@pytest.fixture(scope="module")
def policy(service: World) -> World:
    """A policy that is Ready: copied, verified, drilled, pruned, shipping."""
    service.apply(service.ref(POLICIES, "nightly"), spec=POLICY)
    service.wait_ready(service.ref(POLICIES, "nightly"), READY_WITHIN_S)
    return service


def test_a_new_policy_has_a_verified_copy_and_a_measured_restore(policy: World) -> None:
    ref = policy.ref(POLICIES, "nightly")
    # the last step, which is no part of being Ready
    pruned = lambda: condition(policy.get(ref), "RetentionApplied").get("status") == "True"  # noqa: E731
    until("the pruning is told", pruned, READY_WITHIN_S, 1.0)
    told = policy.get(ref)["status"]
    assert told["lastVerified"]
    assert told["rto"]
    assert told["rpo"]
    assert told["drill"]["rtoSeconds"] > 0
    for kind in ("Verified", "Restorable", "RetentionApplied", "AuditShipping", "ObjectivesMet"):
        assert condition({"status": told}, kind)["status"] == "True", kind
    copies = [b["status"] for b in policy.all(BACKUPS)]
    assert {c["stream"] for c in copies} == {"database", "cache"}
    assert all(c["sizeBytes"] > 0 and c["keyID"] == "k1" and c["sha256"] for c in copies)


def test_a_wrong_key_is_told_in_plain_words_and_makes_no_copy(policy: World) -> None:
    policy.apply(policy.ref(SECRET, "wrong"), stringData={"k9": "bm90IDMyIGJ5dGVz"})
    spec = {name: POLICY[name] for name in ("serviceRef", "destination")} | {
        "encryption": {"secretRef": {"name": "wrong"}}
    }
    policy.apply(policy.ref(BACKUPS, "sealed-wrong"), spec=spec)
    told = ended(policy, policy.ref(BACKUPS, "sealed-wrong"))
    assert told["status"]["phase"] == "Failed"
    assert "k9" in told["status"]["failure"]["message"]
    assert "backupID" not in told["status"]
    assert condition(told, "Stalled")["status"] == "True"


def test_a_destroyed_database_is_restored_in_its_place(policy: World) -> None:
    """The drill of the issue: dropped, and back with every row."""
    on_demand = policy.ref(BACKUPS, "before-the-accident")
    policy.apply(on_demand, spec={"policyRef": {"name": "nightly"}})
    assert ended(policy, on_demand)["status"]["phase"] == "Succeeded"
    tables = policy.sql("credits", "SELECT count(*) FROM credits.accounts")
    policy.sql("credits", "DROP SCHEMA credits CASCADE")
    restore = policy.ref(RESTORES, "undo")
    policy.apply(
        restore,
        spec={
            "source": {"backupRef": {"name": "before-the-accident"}},
            "target": {"name": "credits", "mode": "InPlace"},
            "confirm": "credits",
        },
    )
    told = ended(policy, restore)["status"]
    assert told["phase"] == "Succeeded", told.get("failure")
    assert told["timeline"]
    assert policy.sql("credits", "SELECT count(*) FROM credits.accounts") == tables
    policy.wait_ready(policy.ref(SERVICES, "credits"), READY_WITHIN_S)
    until(
        "the audit log is shipped again",
        lambda: (policy.get(policy.ref(DEPLOYMENT, "nightly-ship-audit")).get("status") or {}).get("availableReplicas"),
        READY_WITHIN_S,
        1.0,
    )


def test_deleting_the_policy_deletes_no_copy(policy: World) -> None:
    location = policy.get(policy.ref(BACKUPS, "before-the-accident"))["status"]["location"].partition(": ")[2]
    policy.delete(policy.ref(POLICIES, "nightly"))
    policy.gone(policy.ref(POLICIES, "nightly"))
    policy.apply(
        policy.ref(POD, "looker"),
        spec={
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "looker",
                    "image": "ghcr.io/shieldx/platform:0.1.0",
                    "command": ["ls", f"/copies/{location}"],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "copies", "mountPath": "/copies", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "copies", "persistentVolumeClaim": {"claimName": "copies"}}],
        },
    )
    until(
        "the folder was listed",
        lambda: policy.get(policy.ref(POD, "looker")).get("status", {}).get("phase") == "Succeeded",
        READY_WITHIN_S,
        1.0,
    )
    assert "manifest.json" in policy.kubectl("logs", "looker")
