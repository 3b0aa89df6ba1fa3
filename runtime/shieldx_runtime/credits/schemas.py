"""The JSON of the API: strict, closed, bounded."""

import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from shieldx_contract import API_KEY_PATTERN, TENANT_ID_PATTERN
from shieldx_runtime.core.auth import Scope
from shieldx_runtime.credits.model import MAX_AMOUNT

EXAMPLE_KEY_ID: Final = "0123456789abcdef"
EXAMPLE_KEY: Final = f"sxk_{EXAMPLE_KEY_ID}_{'x' * 43}"
_EXAMPLE_UUID: Final = "7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90"
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


def _time(value: object) -> datetime | None:
    """RFC 3339 with an offset; pydantic alone would take numbers too."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("it is no time with an offset, such as 2030-01-31T12:00:00Z")


TenantId: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{TENANT_ID_PATTERN}$")]
KeyId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Amount: TypeAlias = Annotated[int, Field(ge=1, le=MAX_AMOUNT, description="Credits, a whole number.")]
Text: TypeAlias = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]
Label: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Moment: TypeAlias = Annotated[datetime | None, BeforeValidator(_time)]
ScopeName: TypeAlias = Literal["consume", "read", "purchase", "admin"]
Scopes: TypeAlias = Annotated[list[ScopeName], Field(min_length=1, max_length=4)]
IdempotencyKey: TypeAlias = Annotated[
    # its own problems, with status 400, are found by `parse_idempotency_key`
    Any,
    WithJsonSchema({"type": "string", "format": "uuid"}),
    Field(
        default=None,
        description="A UUID of version 4, new for each new request and the same for each retry, for 24 hours. "
        "Here or in the header `Idempotency-Key`; in both only if they are equal.",
    ),
]


def parse_idempotency_key(value: object) -> uuid.UUID | None:
    """The key, or None where `value` is no UUID of version 4 in its usual form."""
    return uuid.UUID(value) if isinstance(value, str) and _UUID4.fullmatch(value) else None


def _refuse(_: object) -> None:
    raise ValueError("this version does not honour it: purchased credits do not expire and have no priority")


_NotHonoured: TypeAlias = Annotated[None, BeforeValidator(_refuse)]
"""A field of a later version. Credits that never expire must not be sold as credits that do."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ConsumeBody(_Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "amount": 100,
                    "description": "API call charge",
                    "reference": "req-abc123",
                    "idempotency_key": _EXAMPLE_UUID,
                }
            ]
        }
    )

    tenant_id: TenantId
    amount: Amount
    description: Text | None = None
    reference: Text | None = None
    idempotency_key: IdempotencyKey


class PurchaseBody(_Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "amount": 10000,
                    "reference": "invoice-42",
                    "source": "card",
                    "idempotency_key": _EXAMPLE_UUID,
                }
            ]
        }
    )

    tenant_id: TenantId
    amount: Amount
    reference: Text | None = None
    source: Label | None = Field(default=None, description="Where the credits come from.")
    idempotency_key: IdempotencyKey
    expires_at: SkipJsonSchema[_NotHonoured] = None
    priority: SkipJsonSchema[_NotHonoured] = None


class _KeyBody(_Body):
    tenant_id: TenantId | None = Field(description="The one tenant that the key acts for; null: the whole platform.")
    scopes: Scopes
    expires_at: Moment = None

    @model_validator(mode="after")
    def _administrators_belong_to_the_platform(self) -> Self:
        if "admin" in self.scopes and self.tenant_id is not None:
            raise ValueError("scope 'admin' acts on every tenant: send \"tenant_id\": null with it")
        return self

    def scope_set(self) -> frozenset[Scope]:
        return frozenset(Scope(s) for s in self.scopes)


class IssueKeyBody(_KeyBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant_id": "org-123", "scopes": ["consume", "read"], "expires_at": "2030-01-31T12:00:00Z"}]
        }
    )


class RegisterKeyBody(_KeyBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "scopes": ["consume", "read"],
                    "key": EXAMPLE_KEY,
                    "expires_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )

    key: Annotated[str, StringConstraints(pattern=f"^{API_KEY_PATTERN}$")]


class MovementAnswer(BaseModel):
    """The first answer to a key; the same again for every retry."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "transaction_id": _EXAMPLE_UUID,
                    "balance": 9900,
                    "message": "Successfully consumed 100 credits",
                }
            ]
        }
    )

    success: Literal[True] = True
    transaction_id: uuid.UUID
    balance: int = Field(description="Credits right after this transaction.")
    message: str


class BalanceAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "balance": 9900,
                    "reserved_funds": 200,
                    "available": 9700,
                    "total_spent": 5100,
                    "total_purchased": 15000,
                }
            ]
        }
    )

    tenant_id: str
    balance: int
    reserved_funds: int
    available: int = Field(description="balance - reserved_funds: what may be consumed.")
    total_spent: int
    total_purchased: int


class KeyAnswer(BaseModel):
    key_id: str
    tenant_id: str | None
    scopes: list[ScopeName]
    expires_at: datetime | None


class IssuedKeyAnswer(KeyAnswer):
    """The only time that the key is shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "key_id": EXAMPLE_KEY_ID,
                    "key": EXAMPLE_KEY,
                    "tenant_id": "org-123",
                    "scopes": ["consume", "read"],
                    "expires_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )

    key: str
