"""The words of the credits slice: what goes between routes, service and repository.

Those of which every consume makes one are structs: frozen dataclasses take several times as long to make.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from json.encoder import encode_basestring_ascii  # what `json.dumps` writes a text with
from typing import Final

import msgspec

MAX_AMOUNT: Final = 2**53 - 1
"""The largest integer that every JSON client holds exactly; also the largest balance."""
DEFAULT_PRIORITY: Final = 100


class Kind(StrEnum):
    CONSUME = "consume"
    PURCHASE = "purchase"
    REFUND = "refund"
    RESERVE = "reserve"
    COMMIT = "commit"
    CANCEL = "cancel"


class Outcome(StrEnum):
    """What became of a movement, as the database decided it."""

    DONE = "done"
    INSUFFICIENT = "insufficient"
    UNKNOWN_TENANT = "unknown_tenant"
    IN_FLIGHT = "in_flight"
    KEY_REUSED = "key_reused"
    LIMIT = "limit"
    CONTENDED = "contended"
    """Nothing was decided: somebody else has locked the account."""
    UNKNOWN_TRANSACTION = "unknown_transaction"
    REFUND_LIMIT = "refund_limit"
    UNKNOWN_RESERVATION = "unknown_reservation"
    RESERVATION_CLOSED = "reservation_closed"
    HOLD_LIMIT = "hold_limit"


class Account(msgspec.Struct, frozen=True, gc=False):
    """What a tenant has, in credits. `version` counts its movements.

    `next_event_at` (seconds since the epoch): when a grant or a hold of it expires next: not to be told after that.
    """

    tenant_id: str
    balance: int
    reserved_funds: int
    total_spent: int
    total_purchased: int
    version: int
    next_event_at: float | None = None

    @property
    def available(self) -> int:
        return self.balance - self.reserved_funds


class Consume(msgspec.Struct, frozen=True, gc=False):
    """A wish to consume: `amount` is 1 to MAX_AMOUNT, `idempotency_key` a UUID as lower-case text."""

    tenant_id: str
    amount: int
    idempotency_key: str
    key_id: str
    description: str | None = None
    reference: str | None = None

    def request_hash(self) -> bytes:
        """`request_hash("consume", ...)` without the way through `json.dumps`; a test holds them together."""
        description = "null" if self.description is None else encode_basestring_ascii(self.description)
        reference = "null" if self.reference is None else encode_basestring_ascii(self.reference)
        text = f'["consume", "{self.tenant_id}", {self.amount}, {description}, {reference}, null]'
        return hashlib.sha256(text.encode("ascii")).digest()


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A consume with what can be made of it before its turn comes: its hash and its texts as they are to be stored.

    `texts` None: its tenant's key is not at hand.
    """

    consume: Consume
    request_hash: bytes
    texts: tuple[str | None, str | None] | None


def request_hash(*parts: object) -> bytes:
    """SHA-256 over everything that makes two requests the same; an absent text is the same as null."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class Purchase:
    """A wish to add a grant. Lower `priority` is spent first; `expires_at` None never."""

    tenant_id: str
    amount: int
    idempotency_key: uuid.UUID
    reference: str | None = None
    source: str | None = None
    priority: int = DEFAULT_PRIORITY
    expires_at: datetime | None = None

    def request_hash(self) -> bytes:
        more: list[object] = []
        if self.priority != DEFAULT_PRIORITY or self.expires_at is not None:
            # only then: what a release without the two has recorded must stay the same request
            more = [self.priority, self.expires_at.isoformat() if self.expires_at else None]
        return request_hash("purchase", self.tenant_id, self.amount, None, self.reference, self.source, *more)


class Result(msgspec.Struct, frozen=True, gc=False):
    """What became of a movement. `account` is the state after a fresh one; a replay knows only what was said."""

    outcome: Outcome
    replayed: bool = False
    transaction_id: uuid.UUID | None = None
    balance: int = 0
    available: int = 0
    account: Account | None = None
    tenant_id: str = ""
    expires_at: datetime | None = None
    limit: int = 0
    state: str = ""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A movement that took place, now or when its key was first sent. `balance` is the one right after it."""

    transaction_id: uuid.UUID
    balance: int
    available: int
    replayed: bool
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A lot of credits: what is left of it, and what of that holds have."""

    grant_id: uuid.UUID
    amount: int
    remaining: int
    held: int
    priority: int
    expires_at: datetime | None
    source: str | None
    reference: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tenant's ledger. `amount` is positive; `kind` says which way it went."""

    transaction_id: uuid.UUID
    version: int
    kind: str
    amount: int
    balance_after: int
    related_id: uuid.UUID | None
    description: str | None
    reference: str | None
    source: str | None
    created_at: datetime
