"""What must be true of a Tenant: an account in its service, and a Secret whose key the service knows.

The Secret comes first and the service learns the key from it (docs/decisions/0006): each step may be repeated, and a
crash between any two leaves no key that nobody holds.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shieldx_contract import (
    API_GROUP,
    CREDITS_KEY_PATH,
    CREDITS_TENANT_PATH,
    HTTP_PORT,
    SECRET_ADMIN_KEY,
)
from shieldx_operator.api.defaults import EffectiveTenant, effective_tenant
from shieldx_operator.api.tenant import TenantSpec
from shieldx_operator.blocks.meta import Service, auth_secret_name
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.blocks.spec import parse
from shieldx_operator.engine.secrets import decoded
from shieldx_operator.engine.types import (
    GeneratedSecret,
    HttpCall,
    Obj,
    Observation,
    Plan,
    Reads,
    Ref,
    Resource,
)

SERVICE_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "CreditsService", "creditsservices")
ROTATION_ANNOTATION: Final = f"{API_GROUP}/rotation"
RENEWED_ANNOTATION: Final = f"{API_GROUP}/renewed-at"
KEY_ID: Final = "key-id"
PREVIOUS_KEY_ID: Final = "previous-key-id"
REVOKE_PREVIOUS: Final = "revoke the previous key"
REGISTER_KEY: Final = "register the key"
CREATE_ACCOUNT: Final = "create the account"
REVOKE_KEY: Final = "revoke the key"
NO_KEY_YET: Final = frozenset({200, 204, 404})
"""Revoking is done when the key is gone, whoever did it."""


@dataclass(frozen=True, slots=True)
class View:
    """What one Tenant asks for, and where it is to be had."""

    namespace: str
    name: str
    generation: int
    effective: EffectiveTenant

    @property
    def service(self) -> Ref:
        return Ref(SERVICE_RESOURCE, self.namespace, self.effective.service_name)

    @property
    def auth_secret(self) -> Ref:
        return Ref(SECRET, self.namespace, auth_secret_name(self.effective.service_name))

    @property
    def key_secret(self) -> Ref:
        return Ref(SECRET, self.namespace, self.effective.secret_name)

    @property
    def url(self) -> str:
        return f"http://{Service(self.namespace, self.effective.service_name, 'credits').host()}:{HTTP_PORT}"


def view(parent: Obj) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    chosen = parse(lambda spec: effective_tenant(meta["name"], TenantSpec.from_json(spec)), parent)
    return View(meta["namespace"], meta["name"], meta.get("generation", 0), chosen)


def reads(v: View) -> Reads:
    return Reads((v.service, v.auth_secret, v.key_secret))


def admin_key(v: View, seen: Observation) -> str | None:
    secret = seen.objects.get(v.auth_secret)
    return decoded(secret).get(SECRET_ADMIN_KEY) if secret is not None else None


def service_serves(v: View, seen: Observation) -> bool:
    """Whether the service can be called: its pods serve, whatever else is wrong with it."""
    service = seen.objects.get(v.service, {})
    return bool(service.get("status", {}).get("readyReplicas"))


@dataclass(frozen=True, slots=True)
class Key:
    """The key as its Secret has it now. `lost`: the Secret is gone or emptied, and this is what the status says."""

    exists: bool
    key_id: str | None
    previous_id: str | None
    rotation: str | None
    renewed_at: datetime | None
    lost: bool = False


def key_of(v: View, seen: Observation) -> Key:
    secret = seen.objects.get(v.key_secret)
    if secret is not None and not _labels(v).items() <= (secret["metadata"].get("labels") or {}).items():
        secret = None  # of that name, and not of this tenant: what is in it must not be revoked
    values = decoded(secret) if secret is not None else {}
    told = seen.parent.get("status", {}).get("key", {})
    if KEY_ID not in values and "id" in told:
        made = told.get("createdAt")
        return Key(
            exists=False,
            key_id=told["id"],
            previous_id=told.get("previousID"),
            rotation=told.get("rotation"),
            renewed_at=datetime.fromisoformat(made) if made else None,
            lost=True,
        )
    if secret is None:
        return Key(exists=False, key_id=None, previous_id=None, rotation=None, renewed_at=None)
    notes = secret["metadata"].get("annotations", {})
    moment = notes.get(RENEWED_ANNOTATION) or secret["metadata"].get("creationTimestamp")
    return Key(
        exists=True,
        key_id=values.get(KEY_ID),
        previous_id=values.get(PREVIOUS_KEY_ID),
        rotation=notes.get(ROTATION_ANNOTATION),
        renewed_at=datetime.fromisoformat(moment) if moment else None,
    )


def _labels(v: View) -> dict[str, str]:
    return Service(v.namespace, v.name, "credits").labels("tenant-key")


def revoke_at(v: View, key: Key) -> datetime | None:
    """When the previous key ends; None where there is none."""
    if key.previous_id is None or key.renewed_at is None:
        return None
    return key.renewed_at + timedelta(seconds=v.effective.overlap_seconds)


def previous_is_revoked(seen: Observation, key: Key) -> bool:
    """Told by the status once the call was answered; if the status is lost, the call is only repeated."""
    told = seen.parent.get("status", {}).get("key", {}).get("revokedID")
    return key.previous_id is None or told == key.previous_id


def plan(v: View, seen: Observation) -> Plan:
    """Nothing but the finalizer while there is no service to be a tenant of."""
    admin = admin_key(v, seen)
    key = key_of(v, seen)
    if seen.deleting:
        return _departure(v, seen, admin, key)
    if v.service not in seen.objects or admin is None or not service_serves(v, seen):
        return Plan(keep=frozenset((v.key_secret,)), finalizer=True)
    wants_rotation = key.lost or (key.exists and key.rotation != v.effective.rotation)
    rotates = wants_rotation and previous_is_revoked(seen, key)
    if key.lost and not rotates and key.previous_id is not None:
        # nothing but the status names either key now: one is ended before the other takes its place
        ending = _revoke(v, admin, key.previous_id, REVOKE_PREVIOUS)
        return Plan(keep=frozenset((v.key_secret,)), calls=[ending], finalizer=True)
    secret = _secret(v, seen, key, rotates=rotates)
    calls = [_create_account(v, admin), _register(v, admin)]
    ends = revoke_at(v, key)
    overdue = ends is not None and (wants_rotation or seen.now >= ends)
    if overdue and not rotates and key.previous_id is not None and not previous_is_revoked(seen, key):
        calls.append(_revoke(v, admin, key.previous_id, REVOKE_PREVIOUS))
    return Plan(apply=[secret], calls=calls, finalizer=True)


def _departure(v: View, seen: Observation, admin: str | None, key: Key) -> Plan:
    """Revokes the keys and keeps the ledger. A service that is gone, or going, has nobody to tell."""
    service = seen.objects.get(v.service)
    keys = [(key.key_id, REVOKE_KEY), (key.previous_id, REVOKE_PREVIOUS)]
    known = [(key_id, name) for key_id, name in keys if key_id is not None]
    if not known or service is None or "deletionTimestamp" in service["metadata"] or admin is None:
        return Plan(finalizer=False)
    if not service_serves(v, seen):
        return Plan(keep=frozenset((v.key_secret,)), finalizer=True)
    calls = [_revoke(v, admin, key_id, name) for key_id, name in known]
    return Plan(keep=frozenset((v.key_secret,)), calls=calls, finalizer=False)


def _secret(v: View, seen: Observation, key: Key, *, rotates: bool) -> GeneratedSecret:
    notes: dict[str, str] = {}
    rotation = v.effective.rotation if rotates or not key.exists else key.rotation
    if rotation is not None:
        notes[ROTATION_ANNOTATION] = rotation
    renewed_at = seen.now if rotates else key.renewed_at
    if renewed_at is not None:
        notes[RENEWED_ANNOTATION] = renewed_at.isoformat(timespec="seconds")
    metadata: Obj = {
        "name": v.effective.secret_name,
        "namespace": v.namespace,
        "labels": _labels(v),
        "annotations": notes,
    }
    # what the lost Secret was known by goes on to its end in the new one, as after a rotation
    lost = {PREVIOUS_KEY_ID: key.key_id} if key.lost and key.key_id is not None else {}
    return GeneratedSecret(
        metadata=metadata,
        random={KEY_ID: -8, "secret": 32},
        renew=frozenset({KEY_ID, "secret"}) if rotates else frozenset(),
        carry={PREVIOUS_KEY_ID: KEY_ID} if rotates and not key.lost else {},
        derived={
            **lost,
            "api-key": f"sxk_{{{KEY_ID}}}_{{secret}}",
            "tenant-id": v.effective.tenant_id,
            "endpoint": v.url,
        },
    )


def _create_account(v: View, admin: str) -> HttpCall:
    path = CREDITS_TENANT_PATH.format(tenant_id=v.effective.tenant_id)
    return HttpCall(CREATE_ACCOUNT, "PUT", f"{v.url}{path}", admin)


def _register(v: View, admin: str) -> HttpCall:
    path = CREDITS_KEY_PATH.format(key_id=f"{{secret:{KEY_ID}}}")
    return HttpCall(
        REGISTER_KEY,
        "PUT",
        f"{v.url}{path}",
        admin,
        json={
            "tenant_id": v.effective.tenant_id,
            "scopes": list(v.effective.scopes),
            "key": "{secret:api-key}",
        },
        secret=v.key_secret,
    )


def _revoke(v: View, admin: str, key_id: str, name: str) -> HttpCall:
    path = CREDITS_KEY_PATH.format(key_id=key_id)
    return HttpCall(name, "DELETE", f"{v.url}{path}", admin, expected=NO_KEY_YET)
