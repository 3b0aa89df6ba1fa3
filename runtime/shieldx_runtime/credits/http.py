"""What the routes of the slice share: who asks, under which key, and how an answer is written."""

import base64
import binascii
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from shieldx_runtime.core.auth import Principal, Scope
from shieldx_runtime.core.problems import ProblemError, invalid_field
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.model import Account, Receipt
from shieldx_runtime.credits.schemas import BalanceAnswer, MovementAnswer, TenantId, parse_idempotency_key, read_moment
from shieldx_runtime.credits.service import CreditsService

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
TenantPath = Annotated[TenantId, Path(description="Id of the tenant.", examples=["org-123"])]


def _needs(scope: Scope) -> Callable[[Request], Principal]:
    """The principal, which must have `scope`. The edge has authenticated it."""

    def check(request: Request) -> Principal:
        principal: Principal = request.state.principal
        principal.require(scope)
        return principal

    return check


Consumer = Annotated[Principal, Depends(_needs(Scope.CONSUME))]
Reader = Annotated[Principal, Depends(_needs(Scope.READ))]
Purchaser = Annotated[Principal, Depends(_needs(Scope.PURCHASE))]
ADMINISTRATOR: Final = Depends(_needs(Scope.ADMIN))


def service_of(request: Request) -> CreditsService:
    service: CreditsService = request.app.state.service
    return service


def idempotency_key(request: Request, in_body: object) -> uuid.UUID:
    """The one key of a request. Raises: ProblemError 400, it is missing, no UUID v4, or two that differ."""
    sent = [_unquoted(value) for value in request.headers.getlist(IDEMPOTENCY_HEADER)]
    return one_key([*sent, *([] if in_body is None else [in_body])])


def _unquoted(value: str) -> str:
    """The header's value as it is mostly sent, or as draft-ietf-httpapi-idempotency-key-header wants it: in quotes."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def one_key(sent: list[Any]) -> uuid.UUID:
    """The one key that was sent. Raises: as `idempotency_key`."""
    if not sent:
        raise ProblemError(
            problems.KEY_MISSING,
            "no idempotency key was sent: send a new UUID v4 as idempotency_key or in the header Idempotency-Key",
        )
    keys = {parse_idempotency_key(value) for value in sent}
    if len(keys) > 1 and None not in keys:
        raise ProblemError(
            problems.KEYS_DIFFER, "idempotency_key and the header Idempotency-Key differ: send one of them"
        )
    key = None if None in keys else keys.pop()
    if key is None:
        raise ProblemError(
            problems.KEY_INVALID, "the idempotency key is no UUID v4: send one such as uuid4() makes, with hyphens"
        )
    return key


def answer(body: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


def moved(receipt: Receipt, message: str) -> Response:
    """The answer to a movement that took place."""
    body = MovementAnswer(transaction_id=receipt.transaction_id, balance=receipt.balance, message=message)
    return answer(body, headers=problems.REPLAYED if receipt.replayed else None)


def balance_answer(account: Account) -> BalanceAnswer:
    return BalanceAnswer(
        tenant_id=account.tenant_id,
        balance=account.balance,
        reserved_funds=account.reserved_funds,
        available=account.available,
        total_spent=account.total_spent,
        total_purchased=account.total_purchased,
    )


def write_cursor(*parts: str) -> str:
    """An opaque place in a list."""
    return base64.urlsafe_b64encode("|".join(parts).encode()).decode().rstrip("=")


def read_cursor(cursor: str, parts: int) -> list[str]:
    """What `write_cursor` was given. Raises: ProblemError 422, it is not one of ours."""
    try:
        found = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode().split("|")
    except (binascii.Error, ValueError):
        found = []
    if len(found) != parts:
        raise bad_cursor()
    return found


def read_place(moment: str, identifier: str) -> tuple[datetime, uuid.UUID]:
    """Time and id out of a cursor, as the database takes them. Raises: ProblemError 422, they are none."""
    try:
        at, row_id = read_moment(moment), uuid.UUID(identifier)
    except ValueError as error:
        raise bad_cursor() from error
    if at is None:
        raise bad_cursor()
    return at, row_id


def bad_cursor() -> ProblemError:
    return invalid_field("cursor", "it is not one that this call gave", "send next_cursor of an answer, or none")
