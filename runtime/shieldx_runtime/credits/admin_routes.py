"""Tenants and keys: calls of administrators."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from shieldx_contract import CREDITS_KEY_PATH, CREDITS_TENANT_PATH
from shieldx_runtime.core.auth import key_id_of
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.core.problems import invalid_field
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.http import ADMINISTRATOR, TenantPath, answer, balance_answer, service_of
from shieldx_runtime.credits.key_schemas import IssuedKeyAnswer, IssueKeyBody, KeyAnswer, KeyId, RegisterKeyBody
from shieldx_runtime.credits.schemas import BalanceAnswer


class BreakerAnswer(BaseModel):
    name: str
    state: Literal["closed"]


_KeyPath = Annotated[KeyId, Path(description="Id of the key: its middle part.", examples=["0123456789abcdef"])]


async def put_tenant(request: Request, tenant_id: TenantPath) -> Response:
    """Creates a tenant's account, or finds it there."""
    account, created = await service_of(request).create_tenant(tenant_id)
    return answer(balance_answer(account), status=201 if created else 200)


async def post_key(request: Request, body: IssueKeyBody) -> Response:
    """Issues a key. It is shown in this answer and never again."""
    key_id, key = await service_of(request).issue_key(body.terms())
    issued = IssuedKeyAnswer(key_id=key_id, key=key, **_terms(body))
    return answer(issued, status=201, headers={"Cache-Control": "no-store"})


async def put_key(request: Request, key_id: _KeyPath, body: RegisterKeyBody) -> Response:
    """Registers a key that the caller has made and stored: safe to repeat, so that no key is ever orphaned."""
    if key_id_of(body.key) != key_id:
        raise invalid_field("key", "it is not the key of the id in the path", f"send sxk_{key_id}_<secret>")
    created = await service_of(request).register_key(key_id, body.key, body.terms())
    known = KeyAnswer(key_id=key_id, **_terms(body))
    return answer(known, status=201 if created else 200)


async def delete_key(request: Request, key_id: _KeyPath) -> Response:
    """Revokes a key: here at once, in other replicas within 5 seconds. Repeating it changes nothing."""
    await service_of(request).revoke_key(key_id)
    return Response(status_code=204)


async def reset_breaker(
    request: Request, name: Annotated[str, Path(max_length=64, description="postgresql or redis.")]
) -> Response:
    """Closes a circuit breaker of the process that answers, whatever it has seen."""
    breaker = service_of(request).reset_breaker(name)
    return answer(BreakerAnswer(name=breaker.name, state="closed"))


def _terms(body: IssueKeyBody | RegisterKeyBody) -> dict[str, Any]:
    return {
        "tenant_id": body.tenant_id,
        "scopes": sorted(set(body.scopes)),
        "expires_at": body.expires_at,
        "rate_limit": body.rate_limit,
    }


def add_to(app: FastAPI) -> None:
    admin: dict[str, Any] = {"dependencies": [ADMINISTRATOR], "tags": ["administration"]}
    created: dict[int | str, dict[str, Any]] = {201: {"description": "Created"}}
    key_problems = refusals(problems.UNKNOWN_TENANT, problems.API_KEY_CONFLICT, problems.API_KEY_REVOKED)
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
    app.post(
        "/credits/breakers/{name}/reset",
        response_model=BreakerAnswer,
        responses=refusals(problems.UNKNOWN_BREAKER),
        **admin,
    )(reset_breaker)
    app.delete(CREDITS_KEY_PATH, status_code=204, responses=refusals(), **admin)(delete_key)
