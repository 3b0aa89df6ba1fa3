"""Tenant: one tenant of a CreditsService, and the key it calls the API with."""

from typing import Literal, TypeAlias

from pydantic import Field

from shieldx_operator.api.base import Model
from shieldx_operator.api.common import SET_LIST, CommonStatus, LocalObjectReference
from shieldx_operator.api.fields import LabelValue, ObjectName, TenantId

Scope: TypeAlias = Literal["consume", "read", "purchase"]


class TenantKey(Model):
    """The tenant's API key and its rotation."""

    scopes: list[Scope] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="What the key may do: consume credits, read balances and history, purchase credits. "
        "There is no admin key for a tenant.",
        json_schema_extra=SET_LIST,
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Name of the Secret that the operator writes the key into. It cannot be changed later. "
        "Unset: the name of this object followed by -credits-key.",
    )
    rotation: LabelValue | None = Field(
        default=None,
        description="Any text, such as a date. Another text than before issues a new key.",
    )
    overlap_seconds: int | None = Field(
        default=None,
        ge=0,
        le=604_800,
        description="Seconds that the old key stays valid after a rotation.",
    )


class TenantSpec(Model):
    """What a Tenant asks for."""

    service_ref: LocalObjectReference = Field(
        description="The CreditsService, in the same namespace, that this tenant belongs to. "
        "It cannot be changed later."
    )
    tenant_id: TenantId | None = Field(
        default=None,
        description="Id of the tenant in the ledger. It cannot be changed later. Unset: the name of this object.",
    )
    display_name: str | None = Field(
        default=None, min_length=1, max_length=128, description="Name of the tenant, for people."
    )
    plan: LabelValue | None = Field(default=None, description="Name of the tenant's plan, for reports.")
    key: TenantKey | None = Field(default=None, description="The tenant's API key and its rotation.")


class TenantKeyStatus(Model):
    """Which keys are valid."""

    id: str | None = Field(default=None, description="Id of the present key: its part between the underscores.")
    created_at: str | None = Field(
        default=None, description="When the present key was made.", json_schema_extra={"format": "date-time"}
    )
    rotation: str | None = Field(default=None, description="The spec.key.rotation that the present key was made for.")
    previous_id: str | None = Field(default=None, description="Id of the key before, while it is still valid.")
    previous_revoke_at: str | None = Field(
        default=None, description="When the key before is revoked.", json_schema_extra={"format": "date-time"}
    )
    revoked_id: str | None = Field(default=None, description="Id of the key that was revoked last.")


class TenantStatus(CommonStatus):
    """What the operator sees."""

    tenant_id: str | None = Field(default=None, description="Id of the tenant in the ledger.")
    secret_name: str | None = Field(default=None, description="The Secret that holds the key.")
    key: TenantKeyStatus | None = Field(default=None, description="Which keys are valid.")
