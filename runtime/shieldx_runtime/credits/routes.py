"""HTTP to service and back. No SQL, no decision about money."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shieldx_contract import CREDITS_KEY_PATH, CREDITS_TENANT_PATH
from shieldx_runtime.core import problems as core_problems
from shieldx_runtime.core.auth import Principal, Scope, key_id_of
from shieldx_runtime.core.edge import failure
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.problems import Kind as ProblemKind
from shieldx_runtime.core.problems import ProblemError, invalid_field
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.model import Account, Kind, Movement
from shieldx_runtime.credits.openapi import refusals
from shieldx_runtime.credits.schemas import (
    BalanceAnswer,
    ConsumeBody,
    IssuedKeyAnswer,
    IssueKeyBody,
    KeyAnswer,
    KeyId,
    MovementAnswer,
    PurchaseBody,
    RegisterKeyBody,
    TenantId,
    parse_idempotency_key,
)
from shieldx_runtime.credits.service import CreditsService

_IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
_MOVEMENT_PROBLEMS: Final[tuple[ProblemKind, ...]] = (
    problems.KEY_MISSING,
    problems.KEY_INVALID,
    problems.KEYS_DIFFER,
    problems.UNKNOWN_TENANT,
    problems.IN_FLIGHT,
    problems.KEY_REUSED,
)
_TenantPath = Annotated[TenantId, Path(description="Id of the tenant.", examples=["org-123"])]
_KeyPath = Annotated[KeyId, Path(description="Id of the key: its middle part.", examples=["0123456789abcdef"])]


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
Administrator = Depends(_needs(Scope.ADMIN))


async def consume(request: Request, body: ConsumeBody, principal: Consumer) -> Response:
    """Takes credits, if there are enough. 200 or 402 decides whether the paid call may go on."""
    movement = Movement(
        kind=Kind.CONSUME,
        tenant_id=body.tenant_id,
        amount=body.amount,
        idempotency_key=_idempotency_key(request, body.idempotency_key),
        description=body.description,
        reference=body.reference,
    )
    return await _move(request, principal, movement, f"Successfully consumed {body.amount} credits")


async def purchase(request: Request, body: PurchaseBody, principal: Purchaser) -> Response:
    """Adds credits."""
    movement = Movement(
        kind=Kind.PURCHASE,
        tenant_id=body.tenant_id,
        amount=body.amount,
        idempotency_key=_idempotency_key(request, body.idempotency_key),
        reference=body.reference,
        source=body.source,
    )
    return await _move(request, principal, movement, f"Successfully purchased {body.amount} credits")


async def balance(request: Request, tenant_id: _TenantPath, principal: Reader) -> Response:
    """What a tenant has. The ETag is the account's version: it grows with every movement."""
    account = await _service(request).balance(principal, tenant_id)
    headers = {"ETag": f'"{account.version}"', "Cache-Control": "private, no-cache"}
    if _matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return _json(_balance_answer(account), headers=headers)


async def put_tenant(request: Request, tenant_id: _TenantPath) -> Response:
    """Creates a tenant's account, or finds it there."""
    account, created = await _service(request).create_tenant(tenant_id)
    return _json(_balance_answer(account), status=201 if created else 200)


async def post_key(request: Request, body: IssueKeyBody) -> Response:
    """Issues a key. It is shown in this answer and never again."""
    key_id, key = await _service(request).issue_key(body.tenant_id, body.scope_set(), body.expires_at)
    answer = IssuedKeyAnswer(
        key_id=key_id, key=key, tenant_id=body.tenant_id, scopes=_sorted(body), expires_at=body.expires_at
    )
    return _json(answer, status=201, headers={"Cache-Control": "no-store"})


async def put_key(request: Request, key_id: _KeyPath, body: RegisterKeyBody) -> Response:
    """Registers a key that the caller has made and stored: safe to repeat, so that no key is ever orphaned."""
    if key_id_of(body.key) != key_id:
        raise invalid_field("key", "it is not the key of the id in the path", f"send sxk_{key_id}_<secret>")
    created = await _service(request).register_key(
        key_id, key=body.key, tenant_id=body.tenant_id, scopes=body.scope_set(), expires_at=body.expires_at
    )
    answer = KeyAnswer(key_id=key_id, tenant_id=body.tenant_id, scopes=_sorted(body), expires_at=body.expires_at)
    return _json(answer, status=201 if created else 200)


async def delete_key(request: Request, key_id: _KeyPath) -> Response:
    """Revokes a key: here at once, in other replicas within 5 seconds. Repeating it changes nothing."""
    await _service(request).revoke_key(key_id)
    return Response(status_code=204)


def build_api(service: CreditsService | None) -> FastAPI:
    """The API. Without a service it can only be described, not called."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.service = service
    app.exception_handler(ProblemError)(_answer_problem)
    app.exception_handler(RequestValidationError)(_answer_validation)
    app.exception_handler(HTTPException)(_answer_http)
    app.exception_handler(DatabaseUnavailableError)(_answer_failure)
    app.exception_handler(Exception)(_answer_failure)
    admin: dict[str, Any] = {"dependencies": [Administrator], "tags": ["administration"]}
    tenant: dict[str, Any] = {"tags": ["credits"]}
    created: dict[int | str, dict[str, Any]] = {201: {"description": "Created"}}
    consume_problems = refusals(problems.INSUFFICIENT, *_MOVEMENT_PROBLEMS)
    purchase_problems = refusals(*_MOVEMENT_PROBLEMS, problems.BALANCE_LIMIT)
    key_problems = refusals(problems.UNKNOWN_TENANT, problems.API_KEY_CONFLICT, problems.API_KEY_REVOKED)

    app.post("/credits/consume", response_model=MovementAnswer, responses=consume_problems, **tenant)(consume)
    app.post("/credits/purchase", response_model=MovementAnswer, responses=purchase_problems, **tenant)(purchase)
    app.get(
        "/credits/balance/{tenant_id}",
        response_model=BalanceAnswer,
        responses={304: {"description": "Not modified"}, **refusals(problems.UNKNOWN_TENANT)},
        **tenant,
    )(balance)
    app.put(
        CREDITS_TENANT_PATH,
        response_model=BalanceAnswer,
        responses={201: {"model": BalanceAnswer, **created[201]}, **refusals()},
        **admin,
    )(put_tenant)
    app.post(
        "/credits/keys",
        status_code=201,
        response_model=IssuedKeyAnswer,
        responses=refusals(problems.UNKNOWN_TENANT),
        **admin,
    )(post_key)
    app.put(
        CREDITS_KEY_PATH,
        response_model=KeyAnswer,
        responses={201: {"model": KeyAnswer, **created[201]}, **key_problems},
        **admin,
    )(put_key)
    app.delete(CREDITS_KEY_PATH, status_code=204, responses=refusals(), **admin)(delete_key)
    return app


async def _move(request: Request, principal: Principal, movement: Movement, message: str) -> Response:
    receipt = await _service(request).move(principal, movement)
    answer = MovementAnswer(transaction_id=receipt.transaction_id, balance=receipt.balance, message=message)
    return _json(answer, headers=problems.REPLAYED if receipt.replayed else None)


def _idempotency_key(request: Request, in_body: object) -> Any:
    """The one key of a request. Raises: ProblemError 400, it is missing, no UUID v4, or two that differ."""
    sent: list[object] = [*request.headers.getlist(_IDEMPOTENCY_HEADER), *([] if in_body is None else [in_body])]
    if not sent:
        raise ProblemError(
            problems.KEY_MISSING,
            "no idempotency key was sent: send a new UUID v4 as idempotency_key or in the header Idempotency-Key",
        )
    keys = [parse_idempotency_key(value) for value in sent]
    if None in keys:
        raise ProblemError(
            problems.KEY_INVALID, "the idempotency key is no UUID v4: send one such as uuid4() makes, with hyphens"
        )
    if len(set(keys)) > 1:
        raise ProblemError(
            problems.KEYS_DIFFER, "idempotency_key and the header Idempotency-Key differ: send one of them"
        )
    return keys[0]


def _matches(if_none_match: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


def _balance_answer(account: Account) -> BalanceAnswer:
    return BalanceAnswer(
        tenant_id=account.tenant_id,
        balance=account.balance,
        reserved_funds=account.reserved_funds,
        available=account.available,
        total_spent=account.total_spent,
        total_purchased=account.total_purchased,
    )


def _sorted(body: IssueKeyBody | RegisterKeyBody) -> list[Any]:
    return sorted(body.scope_set())


def _service(request: Request) -> CreditsService:
    service: CreditsService = request.app.state.service
    return service


def _json(answer: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


async def _answer_problem(_: Request, error: ProblemError) -> Response:
    return error.response()


async def _answer_validation(request: Request, error: RequestValidationError) -> Response:
    return core_problems.from_validation(request, error).response()


async def _answer_http(request: Request, error: HTTPException) -> Response:
    return core_problems.from_http(request, error).response()


async def _answer_failure(request: Request, error: Exception) -> Response:
    return failure(error, request.url.path)
