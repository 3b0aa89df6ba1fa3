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

from shieldx_contract import TENANT_ID_PATTERN
from shieldx_runtime.credits.model import DEFAULT_PRIORITY, MAX_AMOUNT

MAX_BATCH_ITEMS: Final = 1000
MAX_TEXT: Final = 512
MAX_HOLD_S: Final = 30 * 24 * 3600
MAX_PAGE: Final = 200
_EXAMPLE_UUID: Final = "7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


def read_moment(value: object) -> datetime | None:
    """RFC 3339 with an offset; pydantic alone would take numbers too. Raises: ValueError."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("it is no time with an offset: send one such as 2030-01-31T12:00:00Z (in a query, + is %2B)")


def _identifier(value: object) -> object:
    """Strict models take no text for a UUID; of a text, take the usual form alone."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return uuid.UUID(value)
    raise ValueError("it is no UUID: send one in its usual form, with hyphens")


TenantId: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{TENANT_ID_PATTERN}$")]
Amount: TypeAlias = Annotated[int, Field(ge=1, le=MAX_AMOUNT, description="Credits, a whole number.")]
Text: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
Label: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Moment: TypeAlias = Annotated[datetime | None, BeforeValidator(read_moment)]
Identifier: TypeAlias = Annotated[uuid.UUID, BeforeValidator(_identifier)]
"""The id of a transaction or a reservation."""
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


_BatchItem: TypeAlias = Annotated[
    # each is validated for itself: a wrong one is refused alone
    Any,
    WithJsonSchema({"$ref": "#/components/schemas/ConsumeBody"}),
]


def is_idempotency_key(text: str) -> bool:
    """Whether it is a UUID of version 4 in its usual form."""
    return _UUID4.fullmatch(text) is not None


def parse_idempotency_key(value: object) -> uuid.UUID | None:
    """The key, or None where `value` is none."""
    return uuid.UUID(value) if isinstance(value, str) and is_idempotency_key(value) else None


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ConsumeBody(Body):
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


class PurchaseBody(Body):
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
    priority: int = Field(
        default=DEFAULT_PRIORITY, ge=0, le=1000, description="Grants are spent by priority, the lowest number first."
    )
    expires_at: Moment = Field(
        default=None, description="When what is left of the grant expires; null: never. Of two, the earlier is spent."
    )
    idempotency_key: IdempotencyKey

    @model_validator(mode="after")
    def _lies_ahead(self) -> Self:
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            raise ValueError("expires_at has passed: send a time that lies ahead")
        return self


class RefundBody(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"transaction_id": _EXAMPLE_UUID, "amount": 40, "idempotency_key": _EXAMPLE_UUID}]
        }
    )

    transaction_id: Identifier = Field(description="The consume or commit of which credits go back.")
    amount: Amount
    idempotency_key: IdempotencyKey


class ReserveBody(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant_id": "org-123", "amount": 200, "expires_in_s": 600, "idempotency_key": _EXAMPLE_UUID}]
        }
    )

    tenant_id: TenantId
    amount: Amount
    expires_in_s: int = Field(ge=1, le=MAX_HOLD_S, description="Seconds after which the hold is released by itself.")
    idempotency_key: IdempotencyKey


class CommitBody(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": 150, "idempotency_key": _EXAMPLE_UUID}]})

    amount: Amount
    idempotency_key: IdempotencyKey


class CancelBody(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"idempotency_key": _EXAMPLE_UUID}]})

    idempotency_key: IdempotencyKey


class BatchBody(Body):
    """Each item is the body of a consume; each is decided as if it had been sent alone, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [{"tenant_id": "org-123", "amount": 100, "idempotency_key": _EXAMPLE_UUID}]}]
        }
    )

    items: Annotated[list[_BatchItem], Field(min_length=1, max_length=MAX_BATCH_ITEMS)]


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


class ReservationAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "reservation_id": _EXAMPLE_UUID,
                    "tenant_id": "org-123",
                    "amount": 200,
                    "balance": 9900,
                    "available": 9700,
                    "expires_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )

    reservation_id: uuid.UUID
    tenant_id: str
    amount: int
    balance: int
    available: int = Field(description="What may be consumed beside the hold.")
    expires_at: datetime = Field(
        description="When the hold is released by itself: never later than the first of the grants that it holds."
    )


class BatchAnswer(BaseModel):
    """`results` has one for each item, in their order: `status` and the members of the answer to a consume."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "results": [
                        {
                            "status": 200,
                            "success": True,
                            "transaction_id": _EXAMPLE_UUID,
                            "balance": 9900,
                            "message": "Successfully consumed 100 credits",
                            "replayed": False,
                        }
                    ]
                }
            ]
        }
    )

    results: list[dict[str, Any]]


class GrantAnswer(BaseModel):
    grant_id: uuid.UUID
    amount: int
    remaining: int = Field(description="What may still be spent or held of it.")
    held: int = Field(description="What holds have of it.")
    priority: int
    expires_at: datetime | None
    source: str | None
    reference: str | None
    created_at: datetime


class GrantsAnswer(BaseModel):
    grants: list[GrantAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null: there is none.")


class EntryAnswer(BaseModel):
    transaction_id: uuid.UUID
    version: int = Field(description="Numbers the entries of a tenant from 1, without gap.")
    kind: Literal["consume", "purchase", "refund", "reserve", "commit", "cancel", "release", "expire"]
    amount: int
    balance_after: int
    related_id: uuid.UUID | None = Field(
        description="refund: what was consumed; commit, cancel, release: the reservation; expire: the grant."
    )
    description: str | None
    reference: str | None
    source: str | None
    created_at: datetime


class EntriesAnswer(BaseModel):
    transactions: list[EntryAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null: there is none.")
