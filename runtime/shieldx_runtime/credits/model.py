"""The words of the credits slice: what goes between routes, service and repository."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_AMOUNT: Final = 2**53 - 1
"""The largest integer that every JSON client holds exactly; also the largest balance."""


class Kind(StrEnum):
    CONSUME = "consume"
    PURCHASE = "purchase"


class Outcome(StrEnum):
    """What became of a movement, as the database decided it."""

    DONE = "done"
    INSUFFICIENT = "insufficient"
    UNKNOWN_TENANT = "unknown_tenant"
    IN_FLIGHT = "in_flight"
    KEY_REUSED = "key_reused"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Account:
    """What a tenant has, in credits. `version` counts its movements."""

    tenant_id: str
    balance: int
    reserved_funds: int
    total_spent: int
    total_purchased: int
    version: int

    @property
    def available(self) -> int:
        return self.balance - self.reserved_funds


@dataclass(frozen=True, slots=True)
class Movement:
    """A wish to move credits: `amount` is 1 to MAX_AMOUNT, texts are free and bounded."""

    kind: Kind
    tenant_id: str
    amount: int
    idempotency_key: uuid.UUID
    description: str | None = None
    reference: str | None = None
    source: str | None = None

    def request_hash(self) -> bytes:
        """SHA-256 over everything that makes two requests the same; an absent text is the same as null."""
        parts = [self.kind, self.tenant_id, self.amount, self.description, self.reference, self.source]
        return hashlib.sha256(json.dumps(parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a movement. `account` is the state after a fresh one; a replay knows only what was said."""

    outcome: Outcome
    replayed: bool = False
    transaction_id: uuid.UUID | None = None
    balance: int = 0
    available: int = 0
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A movement that took place, now or when its key was first sent. `balance` is the one right after it."""

    transaction_id: uuid.UUID
    balance: int
    replayed: bool
