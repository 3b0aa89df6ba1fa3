"""Refunds, holds, batches, and what the ledger has: HTTP to service and back."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from shieldx_runtime.core.auth import Principal, Scope
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.core.problems import ProblemError, invalid_model, unavailable
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.http import (
    Consumer,
    Reader,
    TenantPath,
    answer,
    bad_cursor,
    idempotency_key,
    moved,
    one_key,
    read_cursor,
    read_place,
    service_of,
    write_cursor,
)
from shieldx_runtime.credits.model import MAX_AMOUNT, Consume
from shieldx_runtime.credits.privacy_access import audited
from shieldx_runtime.credits.schemas import (
    MAX_PAGE,
    BatchAnswer,
    BatchBody,
    CancelBody,
    CommitBody,
    ConsumeBody,
    EntriesAnswer,
    EntryAnswer,
    GrantAnswer,
    GrantsAnswer,
    Identifier,
    Moment,
    MovementAnswer,
    RefundBody,
    ReservationAnswer,
    ReserveBody,
    parse_idempotency_key,
)
from shieldx_runtime.credits.service import CreditsService

BATCH_PATH: Final = "/credits/consume/batch"
_KINDS: Final = r"^(consume|purchase|refund|reserve|commit|cancel|release|expire)$"
_BEGINNING: Final = (datetime(1970, 1, 1, tzinfo=UTC), uuid.UUID(int=0))

_ReservationPath = Annotated[Identifier, Path(description="What the reserve answered as `reservation_id`.")]
_Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Entries a page.")]
_Cursor = Annotated[str | None, Query(max_length=256, description="`next_cursor` of the page before.")]


async def refund(request: Request, body: RefundBody, principal: Consumer) -> Response:
    """Gives back (part of) what a consume or commit took, never more than it took.

    The credits go back to the grants that they came from. What came from one that has expired since expires at once.
    """
    key = idempotency_key(request, body.idempotency_key)
    receipt = await service_of(request).refund(principal, body.transaction_id, body.amount, key)
    return moved(receipt, f"Successfully refunded {body.amount} credits")


async def reserve(request: Request, body: ReserveBody, principal: Consumer) -> Response:
    """Holds credits for a while: they cannot be consumed until the hold is committed, cancelled or released."""
    key = idempotency_key(request, body.idempotency_key)
    receipt = await service_of(request).reserve(
        principal, body.tenant_id, body.amount, expires_in_s=body.expires_in_s, key=key
    )
    if receipt.expires_at is None:
        raise RuntimeError("a reservation has no expires_at")
    held = ReservationAnswer(
        reservation_id=receipt.transaction_id,
        tenant_id=body.tenant_id,
        amount=body.amount,
        balance=receipt.balance,
        available=receipt.available,
        expires_at=receipt.expires_at,
    )
    return answer(held, status=201, headers=problems.REPLAYED if receipt.replayed else None)


async def commit(request: Request, reservation_id: _ReservationPath, body: CommitBody, principal: Consumer) -> Response:
    """Consumes held credits, all or a part; the rest becomes available again."""
    key = idempotency_key(request, body.idempotency_key)
    receipt = await service_of(request).close_hold(principal, reservation_id, body.amount, key)
    return moved(receipt, f"Successfully committed {body.amount} credits")


async def cancel(request: Request, reservation_id: _ReservationPath, body: CancelBody, principal: Consumer) -> Response:
    """Releases held credits."""
    key = idempotency_key(request, body.idempotency_key)
    receipt = await service_of(request).close_hold(principal, reservation_id, None, key)
    return moved(receipt, "Successfully cancelled the reservation")


async def consume_batch(request: Request, body: BatchBody, principal: Consumer) -> Response:
    """Up to 1,000 consumes, each decided as if it had been sent alone. 200 says that each has its result."""
    service = service_of(request)
    results: list[dict[str, Any]] = [{}] * len(body.items)

    async def answer_in_turn(places: list[int]) -> None:
        for place in places:
            results[place] = await _item(service, principal, body.items[place])

    await asyncio.gather(*[answer_in_turn(places) for places in _by_key(body.items)])
    return Response(json.dumps({"results": results}), media_type="application/json")


def _by_key(items: list[Any]) -> list[list[int]]:
    """The places of items, those together that have the same key: at once, one would be in the other's way."""
    places: dict[object, list[int]] = {}
    for place, item in enumerate(items):
        key = parse_idempotency_key(item.get("idempotency_key")) if isinstance(item, dict) else None
        places.setdefault(place if key is None else key, []).append(place)
    return list(places.values())


def _key_of(item: ConsumeBody) -> uuid.UUID:
    if item.idempotency_key is None:
        raise ProblemError(problems.KEY_MISSING, "the item has no idempotency_key: send a new UUID v4 in each item")
    return one_key([item.idempotency_key])


async def _item(service: CreditsService, principal: Principal, item: Any) -> dict[str, Any]:
    try:
        body = ConsumeBody.model_validate(item)
        consume = Consume(
            tenant_id=body.tenant_id,
            amount=body.amount,
            idempotency_key=str(_key_of(body)),
            key_id=principal.key_id,
            description=body.description,
            reference=body.reference,
        )
        receipt = await service.consume(principal, consume)
    except ValidationError as error:
        return invalid_model(error.errors()).document()
    except ProblemError as error:
        return error.document()
    except DatabaseUnavailableError:
        return unavailable().document()
    return {
        "status": 200,
        "success": True,
        "transaction_id": str(receipt.transaction_id),
        "balance": receipt.balance,
        "message": f"Successfully consumed {body.amount} credits",
        "replayed": receipt.replayed,
    }


async def grants(
    request: Request, tenant_id: TenantPath, principal: Reader, limit: _Limit = 50, cursor: _Cursor = None
) -> Response:
    """The lots of a tenant, the oldest first: what was bought, what is left, until when."""
    after = _BEGINNING
    if cursor is not None:
        after = read_place(*read_cursor(cursor, 2))
    found = await service_of(request).grants(principal, tenant_id, after, limit + 1)
    page = found[:limit]
    more = write_cursor(page[-1].created_at.isoformat(), str(page[-1].grant_id)) if len(found) > limit else None
    lots = [GrantAnswer.model_validate(lot, from_attributes=True) for lot in page]
    return answer(GrantsAnswer(grants=lots, next_cursor=more))


async def transactions(  # noqa: PLR0913, PLR0917 - filters, which FastAPI gives by name
    request: Request,
    tenant_id: TenantPath,
    principal: Reader,
    limit: _Limit = 50,
    cursor: _Cursor = None,
    kind: Annotated[
        list[Annotated[str, Query(pattern=_KINDS)]] | None, Query(max_length=8, description="Only these kinds.")
    ] = None,
    since: Annotated[Moment, Query(description="Not before this time.")] = None,
    until: Annotated[Moment, Query(description="Before this time.")] = None,
) -> Response:
    """What happened to a tenant's credits, the newest first."""
    before = MAX_AMOUNT
    if cursor is not None:
        (version,) = read_cursor(cursor, 1)
        if not version.isdecimal() or not version.isascii() or int(version) > MAX_AMOUNT:
            raise bad_cursor()
        before = int(version)
    found = await service_of(request).transactions(
        principal, tenant_id, before_version=before, kinds=kind, since=since, until=until, limit=limit + 1
    )
    page = found[:limit]
    more = write_cursor(str(page[-1].version)) if len(found) > limit else None
    entries = [EntryAnswer.model_validate(entry, from_attributes=True) for entry in page]
    return answer(EntriesAnswer(transactions=entries, next_cursor=more))


def add_to(app: FastAPI) -> None:
    keyed = (problems.KEY_MISSING, problems.KEY_INVALID, problems.KEYS_DIFFER, problems.IN_FLIGHT, problems.KEY_REUSED)
    hold = refusals(*keyed, problems.UNKNOWN_RESERVATION, problems.RESERVATION_CLOSED)
    tenant: dict[str, Any] = {"tags": ["credits"]}
    app.post(BATCH_PATH, response_model=BatchAnswer, responses=refusals(), **tenant)(consume_batch)
    app.post(
        "/credits/refund",
        response_model=MovementAnswer,
        responses=refusals(*keyed, problems.UNKNOWN_TRANSACTION, problems.REFUND_LIMIT, problems.BALANCE_LIMIT),
        **tenant,
    )(refund)
    app.post(
        "/credits/reserve",
        status_code=201,
        response_model=ReservationAnswer,
        responses=refusals(*keyed, problems.INSUFFICIENT, problems.UNKNOWN_TENANT),
        **tenant,
    )(reserve)
    app.post(
        "/credits/reservations/{reservation_id}/commit",
        response_model=MovementAnswer,
        responses=refusals(*keyed, problems.UNKNOWN_RESERVATION, problems.RESERVATION_CLOSED, problems.HOLD_LIMIT),
        **tenant,
    )(commit)
    app.post("/credits/reservations/{reservation_id}/cancel", response_model=MovementAnswer, responses=hold, **tenant)(
        cancel
    )
    app.get(
        "/credits/grants/{tenant_id}",
        response_model=GrantsAnswer,
        responses=refusals(problems.UNKNOWN_TENANT),
        dependencies=[audited("grants", Scope.READ)],
        **tenant,
    )(grants)
    app.get(
        "/credits/transactions/{tenant_id}",
        response_model=EntriesAnswer,
        responses=refusals(problems.UNKNOWN_TENANT),
        dependencies=[audited("transactions", Scope.READ)],
        **tenant,
    )(transactions)
