"""The problems that only this slice knows."""

from typing import Final

from shieldx_runtime.core.problems import Kind, ProblemError
from shieldx_runtime.credits.model import MAX_AMOUNT

INSUFFICIENT = Kind("insufficient-credits", 402, "Insufficient credits")
UNKNOWN_TENANT = Kind("unknown-tenant", 404, "Unknown tenant")
KEY_MISSING = Kind("idempotency-key-missing", 400, "Idempotency key missing")
KEY_INVALID = Kind("idempotency-key-invalid", 400, "Idempotency key invalid")
KEYS_DIFFER = Kind("idempotency-keys-differ", 400, "Idempotency keys differ")
KEY_REUSED = Kind("idempotency-key-reused", 422, "Idempotency key reused")
IN_FLIGHT = Kind("request-in-flight", 409, "Request in flight")
BALANCE_LIMIT = Kind("balance-limit", 422, "Balance limit")
UNKNOWN_TRANSACTION = Kind("unknown-transaction", 404, "Unknown transaction")
REFUND_LIMIT = Kind("refund-limit", 422, "Refund limit")
UNKNOWN_RESERVATION = Kind("unknown-reservation", 404, "Unknown reservation")
RESERVATION_CLOSED = Kind("reservation-closed", 409, "Reservation closed")
HOLD_LIMIT = Kind("hold-limit", 422, "Hold limit")
UNKNOWN_BREAKER = Kind("unknown-breaker", 404, "Unknown circuit breaker")
API_KEY_CONFLICT = Kind("api-key-conflict", 409, "API key conflict")
API_KEY_REVOKED = Kind("api-key-revoked", 409, "API key revoked")

REPLAYED: Final = {"Idempotency-Replayed": "true"}


def unknown_tenant(tenant_id: str) -> ProblemError:
    """The same words for a tenant that does not exist and for one that is not the caller's business."""
    return ProblemError(UNKNOWN_TENANT, f"there is no tenant {tenant_id!r}: check the id, or create the tenant first")


def insufficient(tenant_id: str, *, available: int, required: int, replayed: bool) -> ProblemError:
    return ProblemError(
        INSUFFICIENT,
        f"tenant {tenant_id!r} has {available} credits available, {required} are required: "
        f"purchase at least {required - available} more",
        headers=REPLAYED if replayed else None,
        success=False,
        error="Insufficient credits",
        available=available,
        required=required,
    )


def unknown_breaker(name: str, known: list[str]) -> ProblemError:
    return ProblemError(UNKNOWN_BREAKER, f"there is no circuit breaker {name!r}: use one of {', '.join(known)}")


def key_reused() -> ProblemError:
    return ProblemError(
        KEY_REUSED,
        "this idempotency key was used within 24 hours for a request with another body: "
        "send the same body again, or a new key for a new request",
    )


def in_flight() -> ProblemError:
    return ProblemError(
        IN_FLIGHT,
        "a request with this idempotency key is being answered at this moment: send it again to get that answer",
        headers={"Retry-After": "1"},
    )


def balance_limit(tenant_id: str, *, balance: int, amount: int) -> ProblemError:
    return ProblemError(
        BALANCE_LIMIT,
        f"tenant {tenant_id!r} has {balance} credits and can hold at most {MAX_AMOUNT}: "
        f"{amount} more would pass that: purchase at most {MAX_AMOUNT - balance}",
    )


def unknown_transaction(transaction_id: object) -> ProblemError:
    return ProblemError(
        UNKNOWN_TRANSACTION,
        f"there is no consume or commit {str(transaction_id)!r}: send the transaction_id of one of this tenant",
    )


def refund_limit(amount: int, limit: int) -> ProblemError:
    return ProblemError(
        REFUND_LIMIT,
        f"{amount} credits are more than the {limit} that have not been refunded of this transaction: "
        + (f"refund at most {limit}" if limit else "nothing is left to refund"),
        limit=limit,
    )


def unknown_reservation(reservation_id: object) -> ProblemError:
    return ProblemError(
        UNKNOWN_RESERVATION, f"there is no reservation {str(reservation_id)!r}: check the id, or reserve first"
    )


def reservation_closed(state: str) -> ProblemError:
    return ProblemError(
        RESERVATION_CLOSED,
        f"the reservation is {state}: it can be committed or cancelled once, and only until it expires: reserve anew",
        state=state,
    )


def hold_limit(amount: int, limit: int) -> ProblemError:
    return ProblemError(
        HOLD_LIMIT, f"{amount} credits are more than the {limit} that are held: commit at most {limit}", limit=limit
    )
