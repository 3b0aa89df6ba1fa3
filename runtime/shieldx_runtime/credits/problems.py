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
