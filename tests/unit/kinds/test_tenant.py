from typing import Any

from shieldx_operator.blocks.resources import SECRET, ref_of
from shieldx_operator.engine.secrets import decoded
from shieldx_operator.engine.types import Failure, GeneratedSecret, Obj, Ref, Results
from shieldx_operator.kinds.tenant import TenantKind
from shieldx_operator.kinds.tenant.plan import SERVICE_RESOURCE
from tests.unit.kinds.world import World, secret

ADMIN = "sxk_0000000000000000_" + "a" * 43
SERVED = Results(responses={"create the account": (200, {}), "register the key": (200, {})})


def tenant(spec: Obj | None = None) -> Obj:
    return {
        "apiVersion": "platform.shieldx.io/v1alpha1",
        "kind": "Tenant",
        "metadata": {"namespace": "team", "name": "org-1", "uid": "t1", "generation": 1},
        "spec": {"serviceRef": {"name": "pay"}, **(spec or {})},
    }


def world(spec: Obj | None = None, *, served: bool = True) -> World:
    w = World(TenantKind(), tenant(spec))
    if served:
        w.objects[Ref(SERVICE_RESOURCE, "team", "pay")] = {
            "metadata": {"name": "pay", "namespace": "team", "uid": "c1"},
            "status": {"readyReplicas": 1},
        }
        auth = secret("team", "pay-auth", {"admin-key": ADMIN})
        w.objects[ref_of(auth)] = auth
    return w


def calls(w: World) -> list[str]:
    return [c.name for c in w.plan().calls]


def key(w: World) -> dict[str, str]:
    return decoded(w.one("Secret", "org-1-credits-key"))


def test_the_secret_comes_before_the_service_learns_of_the_key() -> None:
    plan = world().plan()
    assert isinstance(plan.apply[0], GeneratedSecret)
    assert [c.name for c in plan.calls] == ["create the account", "register the key"]
    assert plan.finalizer is True
    account, register = plan.calls
    assert account.url == "http://pay.team.svc:8080/credits/tenants/org-1"
    assert register.url.endswith("/credits/keys/{secret:key-id}")
    assert register.json == {"tenant_id": "org-1", "scopes": ["consume", "read"], "key": "{secret:api-key}"}
    assert ADMIN not in repr(plan)


def test_the_key_is_made_once() -> None:
    w = world()
    w.step()
    first = key(w)
    w.step()
    assert key(w) == first
    assert first["api-key"] == f"sxk_{first['key-id']}_{first['secret']}"
    assert len(first["key-id"]) == 16


def test_without_its_service_a_tenant_says_so_and_keeps_its_secret() -> None:
    w = world(served=False)
    assert not w.plan().calls
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ServiceNotFound")
    assert "CreditsService team/pay" in stalled.message
    assert w.plan().keep


def test_a_tenant_is_ready_when_both_calls_were_answered() -> None:
    w = world()
    w.step()
    assert w.condition("Ready").reason == "NotRegistered"
    assert w.condition("Ready", SERVED).status == "True"
    assert w.parent["status"]["key"]["id"] == key(w)["key-id"]


def test_a_refused_call_is_told_by_name() -> None:
    w = world()
    w.step()
    failed = Results(failures=[Failure("register the key", "CallFailed", "409: another secret", retryable=True)])
    assert "register the key: 409" in w.condition("Ready", failed).message


def rotated(overlap_s: int = 60) -> tuple[World, dict[str, str]]:
    w = world({"key": {"rotation": "1", "overlapSeconds": overlap_s}})
    w.step()
    before = key(w)
    w.status(SERVED)
    w.parent["spec"]["key"]["rotation"] = "2"
    w.step()
    return w, before


def test_a_rotation_keeps_the_old_key_for_its_overlap() -> None:
    w, before = rotated()
    after = key(w)
    assert after["api-key"] != before["api-key"]
    assert after["previous-key-id"] == before["key-id"]
    assert "revoke the previous key" not in calls(w)
    told = w.status(SERVED)
    assert told.fields["key"]["previousID"] == before["key-id"]
    assert told.requeue_after_s == 60
    w.pass_time(60)
    assert "revoke the previous key" in calls(w)
    done = Results(responses={**SERVED.responses, "revoke the previous key": (204, {})})
    assert "previousID" not in w.status(done).fields["key"]
    assert "revoke the previous key" not in calls(w)


def test_a_second_rotation_waits_until_the_first_old_key_is_revoked() -> None:
    w, before = rotated()
    second = key(w)
    w.parent["spec"]["key"]["rotation"] = "3"
    w.step()
    assert key(w) == second
    revoke = next(c for c in w.plan().calls if c.name == "revoke the previous key")
    assert revoke.url.endswith(before["key-id"])
    w.status(Results(responses={**SERVED.responses, "revoke the previous key": (204, {})}))
    w.step()
    assert key(w)["previous-key-id"] == second["key-id"]


def test_a_rotation_asked_for_once_happens_once() -> None:
    w, _ = rotated()
    once = key(w)
    for _ in range(3):
        w.status(SERVED)
        w.step()
    assert key(w) == once


def deleted(w: World) -> World:
    w.parent["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return w


def test_deleting_a_tenant_revokes_its_keys_and_then_lets_it_go() -> None:
    w, before = rotated()
    ids = {key(w)["key-id"], before["key-id"]}
    plan = deleted(w).plan()
    assert {c.url.rsplit("/", 1)[1] for c in plan.calls} == ids
    assert {c.method for c in plan.calls} == {"DELETE"}
    assert plan.finalizer is False
    assert not plan.apply


def test_a_deletion_that_waits_for_a_service_that_does_not_serve_says_so_and_what_to_do() -> None:
    w = world()
    w.step()
    w.status(SERVED)
    w.objects[Ref(SERVICE_RESOURCE, "team", "pay")]["status"] = {}
    told = deleted(w).condition("Ready")
    assert told.reason == "RevocationPending"
    assert "CreditsService team/pay" in told.message
    assert (list(w.plan().calls), w.plan().finalizer) == ([], True)
    w.objects[Ref(SERVICE_RESOURCE, "team", "pay")]["status"] = {"readyReplicas": 1}
    assert [c.name for c in w.plan().calls] == ["revoke the key"]


def test_a_tenant_that_named_the_secret_of_another_does_not_revoke_its_key() -> None:
    theirs = world()
    theirs.step()
    w = world({"key": {"secretName": "org-2-credits-key"}})
    found = theirs.one("Secret", "org-1-credits-key")
    found["metadata"] |= {
        "name": "org-2-credits-key",
        "labels": {**found["metadata"]["labels"], "app.kubernetes.io/instance": "org-2"},
    }
    w.objects[ref_of(found)] = found
    refused = Results(failures=[Failure("Secret team/org-2-credits-key", "Conflict", "left alone")])
    assert w.status(refused).fields["key"] == {}
    assert not deleted(w).plan().calls


def test_a_tenant_that_never_had_a_key_waits_for_no_service_when_it_is_deleted() -> None:
    w = world()
    w.objects[Ref(SERVICE_RESOURCE, "team", "pay")]["status"] = {}
    assert deleted(w).plan().finalizer is False


def test_a_tenant_of_a_service_that_is_gone_can_be_deleted() -> None:
    w: Any = deleted(world(served=False))
    plan = w.plan()
    assert (plan.finalizer, list(plan.calls)) == (False, [])


KEY_SECRET = Ref(SECRET, "team", "org-1-credits-key")
REVOKED = Results(responses={**SERVED.responses, "revoke the previous key": (204, {})})


def test_the_key_of_a_secret_that_somebody_deleted_ends_as_after_a_rotation() -> None:
    """Whoever deletes it because it leaked must not leave a key that nobody knows of and nobody revokes."""
    w = world({"key": {"overlapSeconds": 60}})
    w.step()
    before = key(w)
    w.status(SERVED)
    w.pass_time(3600)
    del w.objects[KEY_SECRET]
    w.step()
    after = key(w)
    assert after["api-key"] != before["api-key"]
    assert after["previous-key-id"] == before["key-id"]
    assert w.status(SERVED).requeue_after_s == 60
    w.step()
    assert key(w) == after, "it is exchanged once"
    w.pass_time(60)
    revoke = next(c for c in w.plan().calls if c.name == "revoke the previous key")
    assert revoke.url.endswith(before["key-id"])
    assert w.status(REVOKED).fields["key"]["revokedID"] == before["key-id"]


def test_a_secret_that_was_emptied_is_a_lost_one() -> None:
    w = world()
    w.step()
    before = key(w)
    w.status(SERVED)
    w.objects[KEY_SECRET]["data"] = {}
    w.step()
    assert key(w)["previous-key-id"] == before["key-id"]


def test_a_secret_lost_during_the_overlap_leaves_neither_key_behind() -> None:
    w, first = rotated()
    second = key(w)
    w.status(SERVED)
    del w.objects[KEY_SECRET]
    plan = w.step()
    assert [c.url.rsplit("/", 1)[1] for c in plan.calls] == [first["key-id"]]
    assert KEY_SECRET not in w.objects, "the second key is known by the status alone: it waits"
    w.status(Results(responses={"revoke the previous key": (204, {})}))
    w.step()
    assert key(w)["previous-key-id"] == second["key-id"]


def test_a_lost_secret_is_no_reason_to_forget_the_key_while_the_service_is_away() -> None:
    w = world()
    w.step()
    before = key(w)
    w.status(SERVED)
    del w.objects[KEY_SECRET]
    service = w.objects.pop(Ref(SERVICE_RESOURCE, "team", "pay"))
    assert w.status().fields["key"]["id"] == before["key-id"]
    w.objects[Ref(SERVICE_RESOURCE, "team", "pay")] = service
    assert [c.url.rsplit("/", 1)[1] for c in deleted(w).plan().calls] == [before["key-id"]]
