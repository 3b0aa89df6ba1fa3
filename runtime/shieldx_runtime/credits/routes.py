"""HTTP to service and back: the calls of every request, and the whole API. No SQL, no decision about money."""

from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shieldx_runtime.core import problems as core_problems
from shieldx_runtime.core.edge import failure
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.core.problems import Kind, ProblemError
from shieldx_runtime.credits import (
    admin_routes,
    alert_routes,
    ledger_routes,
    privacy_routes,
    problems,
    proofs_routes,
    reconcile_routes,
)
from shieldx_runtime.credits.http import (
    Consumer,
    Purchaser,
    Reader,
    TenantPath,
    answer,
    balance_answer,
    idempotency_key,
    moved,
    service_of,
)
from shieldx_runtime.credits.model import Account, Consume, Purchase
from shieldx_runtime.credits.schemas import BalanceAnswer, ConsumeBody, Moment, MovementAnswer, PurchaseBody
from shieldx_runtime.credits.service import CreditsService

CONSUME_PATH: Final = "/credits/consume"
BALANCE_PATH: Final = "/credits/balance/{tenant_id}"
_MOVEMENT_PROBLEMS: Final[tuple[Kind, ...]] = (
    problems.KEY_MISSING,
    problems.KEY_INVALID,
    problems.KEYS_DIFFER,
    problems.UNKNOWN_TENANT,
    problems.IN_FLIGHT,
    problems.KEY_REUSED,
)


async def consume(request: Request, body: ConsumeBody, principal: Consumer) -> Response:
    """Takes credits, if there are enough. 200 or 402 decides whether the paid call may go on."""
    wish = Consume(
        tenant_id=body.tenant_id,
        amount=body.amount,
        idempotency_key=str(idempotency_key(request, body.idempotency_key)),
        key_id=principal.key_id,
        description=body.description,
        reference=body.reference,
    )
    return moved(await service_of(request).consume(principal, wish), consumed_message(body.amount))


def consumed_message(amount: int) -> str:
    return f"Successfully consumed {amount} credits"


async def purchase(request: Request, body: PurchaseBody, principal: Purchaser) -> Response:
    """Adds a grant of credits. Grants are spent by priority, then the earliest to expire first."""
    wish = Purchase(
        tenant_id=body.tenant_id,
        amount=body.amount,
        idempotency_key=idempotency_key(request, body.idempotency_key),
        reference=body.reference,
        source=body.source,
        priority=body.priority,
        expires_at=body.expires_at,
    )
    receipt = await service_of(request).purchase(principal, wish)
    return moved(receipt, f"Successfully purchased {body.amount} credits")


async def balance(
    request: Request,
    tenant_id: TenantPath,
    principal: Reader,
    at: Annotated[Moment, Query(description="The balance as the ledger has it for this time.")] = None,
) -> Response:
    """What a tenant has. The ETag is the account's version: it grows with every movement."""
    if at is not None:
        return answer(balance_answer(await service_of(request).balance_at(principal, tenant_id, at)))
    account = await service_of(request).balance(principal, tenant_id)
    headers = balance_headers(account)
    if _matches(request.headers.getlist("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return answer(balance_answer(account), headers=headers)


def balance_headers(account: Account) -> dict[str, str]:
    return {"ETag": f'"{account.version}"', "Cache-Control": "private, no-cache"}


def build_api(service: CreditsService | None) -> FastAPI:
    """The API. Without a service it can only be described, not called."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.service = service
    app.exception_handler(ProblemError)(_answer_problem)
    app.exception_handler(RequestValidationError)(_answer_validation)
    app.exception_handler(HTTPException)(_answer_http)
    app.exception_handler(DatabaseUnavailableError)(_answer_failure)
    app.exception_handler(Exception)(_answer_failure)
    tenant: dict[str, Any] = {"tags": ["credits"]}
    consume_problems = refusals(problems.INSUFFICIENT, *_MOVEMENT_PROBLEMS)
    purchase_problems = refusals(*_MOVEMENT_PROBLEMS, problems.BALANCE_LIMIT)
    app.post(CONSUME_PATH, response_model=MovementAnswer, responses=consume_problems, **tenant)(consume)
    app.post("/credits/purchase", response_model=MovementAnswer, responses=purchase_problems, **tenant)(purchase)
    app.get(
        BALANCE_PATH,
        response_model=BalanceAnswer,
        responses={304: {"description": "Not modified"}, **refusals(problems.UNKNOWN_TENANT)},
        **tenant,
    )(balance)
    ledger_routes.add_to(app)
    admin_routes.add_to(app)
    proofs_routes.add_to(app)
    privacy_routes.add_to(app)
    alert_routes.add_to(app)
    reconcile_routes.add_to(app)
    return app


def _matches(if_none_match: list[str], etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in ",".join(if_none_match).split(",")]
    return etag in tags or "*" in tags


async def _answer_problem(_: Request, error: ProblemError) -> Response:
    return error.response()


async def _answer_validation(request: Request, error: RequestValidationError) -> Response:
    return core_problems.from_validation(request, error).response()


async def _answer_http(request: Request, error: HTTPException) -> Response:
    return core_problems.from_http(request, error).response()


async def _answer_failure(request: Request, error: Exception) -> Response:
    return failure(error, request.url.path)
