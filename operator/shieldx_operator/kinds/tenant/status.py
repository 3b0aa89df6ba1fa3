"""What is told of a Tenant: whether its key works, how old it is, and if not, why not."""

from datetime import UTC, datetime
from typing import Final

from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Obj, Observation, Plan, Results, Status
from shieldx_operator.kinds.tenant.plan import (
    CREATE_ACCOUNT,
    REGISTER_KEY,
    REVOKE_PREVIOUS,
    Key,
    View,
    admin_key,
    key_of,
    revoke_at,
    service_serves,
)

POLL_S: Final = 3.0


def status(v: View, seen: Observation, plan: Plan, results: Results) -> Status:
    """Ready once the service has answered for both the account and the key."""
    key = key_of(v, seen)
    reason, message, person = _problem(v, seen, results)
    if reason:
        conditions = summary("False", reason, message, needs_person=person)
    else:
        message = f"tenant {v.effective.tenant_id!r} has an account, and the key in {v.key_secret} works"
        conditions = summary("True", "Registered", message)
    return Status(
        conditions,
        _fields(v, seen, key, plan, results),
        requeue_after_s=_next_look(v, seen, key, ready=not reason),
    )


def _problem(v: View, seen: Observation, results: Results) -> tuple[str, str, bool]:
    """Reason, message and whether a person is needed; an empty reason where all is well."""
    if v.service not in seen.objects:
        text = f"spec.serviceRef.name: {v.service} does not exist; create it, or correct the name in a new Tenant"
        return "ServiceNotFound", text, True
    if admin_key(v, seen) is None or not service_serves(v, seen):
        told = seen.objects[v.service].get("status", {}).get("conditions", ())
        ready = next((c for c in told if c["type"] == "Ready"), {"message": "it has not been looked at yet"})
        if seen.deleting:
            text = f"its keys are revoked before it goes, and {v.service} serves no calls ({ready['message']}): "
            return "RevocationPending", f"{text}mend the service, or delete that, too", False
        return "ServiceNotReady", f"{v.service} serves no calls yet: {ready['message']}", False
    for failure in results.failures:
        return failure.reason, f"{failure.where}: {failure.message}", not failure.retryable
    missing = [name for name in (CREATE_ACCOUNT, REGISTER_KEY) if name not in results.responses]
    if missing and not seen.deleting:
        return "NotRegistered", f"{v.service} has not answered yet to: {', '.join(missing)}", False
    return "", "", False


def _fields(v: View, seen: Observation, key: Key, plan: Plan, results: Results) -> Obj:
    told: Obj = {}
    if key.key_id is not None:
        told["id"] = key.key_id
    if key.renewed_at is not None:
        told["createdAt"] = _text(key.renewed_at)
    if key.rotation is not None:
        told["rotation"] = key.rotation
    before = seen.parent.get("status", {}).get("key", {}).get("revokedID")
    revoked = key.previous_id if REVOKE_PREVIOUS in results.responses and _asked(plan) else before
    if revoked is not None:
        told["revokedID"] = revoked
    ends = revoke_at(v, key)
    if key.previous_id is not None and ends is not None and revoked != key.previous_id:
        told["previousID"] = key.previous_id
        told["previousRevokeAt"] = _text(ends)
    return {"tenantID": v.effective.tenant_id, "secretName": v.effective.secret_name, "key": told}


def _asked(plan: Plan) -> bool:
    return any(call.name == REVOKE_PREVIOUS for call in plan.calls)


def _next_look(v: View, seen: Observation, key: Key, *, ready: bool) -> float | None:
    """Where the previous key still works, the moment at which it must not any more."""
    if not ready:
        return POLL_S
    wants_rotation = key.exists and key.rotation != v.effective.rotation
    if wants_rotation or not key.exists:
        return 1.0
    ends = revoke_at(v, key)
    told = seen.parent.get("status", {}).get("key", {}).get("revokedID")
    if ends is None or told == key.previous_id:
        return None
    return max((ends - seen.now).total_seconds(), 1.0)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
