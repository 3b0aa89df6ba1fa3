"""The calls as requests: named arguments in, a plain request out."""

from datetime import datetime
from urllib.parse import quote

from shieldx_client.core import Request, moving


def consume(
    tenant_id: str, amount: int, description: str | None, reference: str | None, idempotency_key: str | None
) -> Request:
    members = {"tenant_id": tenant_id, "amount": amount, "description": description, "reference": reference}
    return moving("/credits/consume", members, idempotency_key)


def purchase(  # noqa: PLR0913, PLR0917 - the members of the call
    tenant_id: str,
    amount: int,
    source: str | None,
    reference: str | None,
    priority: int | None,
    expires_at: datetime | None,
    idempotency_key: str | None,
) -> Request:
    members = {
        "tenant_id": tenant_id,
        "amount": amount,
        "source": source,
        "reference": reference,
        "priority": priority,
        "expires_at": expires_at.isoformat() if expires_at else None,
    }
    return moving("/credits/purchase", members, idempotency_key)


def refund(transaction_id: str, amount: int, idempotency_key: str | None) -> Request:
    return moving("/credits/refund", {"transaction_id": transaction_id, "amount": amount}, idempotency_key)


def reserve(tenant_id: str, amount: int, expires_in_s: int, idempotency_key: str | None) -> Request:
    members = {"tenant_id": tenant_id, "amount": amount, "expires_in_s": expires_in_s}
    return moving("/credits/reserve", members, idempotency_key)


def commit(reservation_id: str, amount: int, idempotency_key: str | None) -> Request:
    return moving(f"/credits/reservations/{quote(reservation_id, safe='')}/commit", {"amount": amount}, idempotency_key)


def cancel(reservation_id: str, idempotency_key: str | None) -> Request:
    return moving(f"/credits/reservations/{quote(reservation_id, safe='')}/cancel", {}, idempotency_key)


def balance(tenant_id: str) -> Request:
    return Request("GET", f"/credits/balance/{quote(tenant_id, safe='')}")
