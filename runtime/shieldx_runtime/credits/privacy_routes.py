"""Export and erasure of a tenant: HTTP to service and back."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shieldx_runtime.core.auth import Scope
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.core.problems import invalid_field
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.http import (
    ADMINISTRATOR,
    Reader,
    TenantPath,
    answer,
    bad_cursor,
    read_cursor,
    read_place,
    write_cursor,
)
from shieldx_runtime.credits.privacy import SECTIONS, Place, Privacy
from shieldx_runtime.credits.privacy_access import audited, source_of

NDJSON: Final = "application/x-ndjson"
_MAX_RECORDS: Final = 1000
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_POSITIONS: Final = {"transactions": _NUMBER, "accesses": _NUMBER, "keys": re.compile(r"[0-9a-f]{16}")}
_EXAMPLE: Final = (
    '{"type":"account","format":"shieldx-tenant-export/1","tenant_id":"org-123","balance":9900}\n'
    '{"type":"page","next_cursor":null}\n'
)
_EXPORT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A JSON record a line. The last one is of type `page` and has the cursor of the next page.",
        "content": {NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


class EraseBody(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra={"examples": [{"confirm": "org-123"}]}
    )

    confirm: Annotated[str, Field(max_length=64, description="The tenant's id again: this cannot be undone.")]


class ErasureAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "keys_destroyed": 1,
                    "plain_texts": 0,
                    "erased_at": "2030-01-31T12:00:00.000000Z",
                }
            ]
        }
    )

    tenant_id: str
    keys_destroyed: int = Field(description="0 where all were destroyed before.")
    plain_texts: int | None = Field(
        description="Entries whose texts were stored unsealed, while the service had no master key: those stay. "
        "null: they could not be counted in time."
    )
    erased_at: datetime


async def export(
    request: Request,
    tenant_id: TenantPath,
    principal: Reader,
    limit: Annotated[int, Query(ge=1, le=_MAX_RECORDS, description="Records a page.")] = 500,
    cursor: Annotated[str | None, Query(max_length=256, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """All that the service knows about a tenant, its texts readable: account, grants, transactions, keys, accesses."""
    page = await _privacy(request).export_page(principal, tenant_id, place_of(cursor), limit)
    more = write_cursor(page.following.section, page.following.position) if page.following else None
    lines = [*page.records, {"type": "page", "next_cursor": more}]
    text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    return Response(text.encode("utf-8", "surrogatepass"), media_type=NDJSON, headers={"Cache-Control": "no-store"})


async def erase(request: Request, tenant_id: TenantPath, body: EraseBody) -> Response:
    """Destroys the keys of a tenant's descriptions and references. Balances, sums and proofs stay as they are."""
    if body.confirm != tenant_id:
        raise invalid_field("confirm", "it is not the tenant's id", f"send {tenant_id!r} if that is whom you mean")
    done = await _privacy(request).erase(request.state.principal, tenant_id, source_of(request))
    return answer(
        ErasureAnswer(
            tenant_id=tenant_id,
            keys_destroyed=done.keys_destroyed,
            plain_texts=done.plain_texts,
            erased_at=done.erased_at,
        )
    )


def place_of(cursor: str | None) -> Place:
    """Where a page begins. Raises: ProblemError 422, the cursor is not one of ours."""
    if cursor is None:
        return Place()
    section, position = read_cursor(cursor, 2)
    if section not in SECTIONS:
        raise bad_cursor()
    return Place(section, _position(section, position) if position else "")


def _position(section: str, position: str) -> str:
    """A cursor that was made up must not reach the database as a number, a time or an id that is none."""
    if section == "grants":
        moment, _, identifier = position.partition(" ")
        at, grant_id = read_place(moment, identifier)
        return f"{at.isoformat()} {grant_id}"
    form = _POSITIONS.get(section)
    if form is None or not form.fullmatch(position):
        raise bad_cursor()
    return position


def _privacy(request: Request) -> Privacy:
    privacy: Privacy = request.app.state.privacy
    return privacy


def add_to(app: FastAPI) -> None:
    tag: dict[str, Any] = {"tags": ["privacy"]}
    app.get(
        "/credits/export/{tenant_id}",
        response_class=Response,
        responses={**_EXPORT, **refusals(problems.UNKNOWN_TENANT)},
        dependencies=[audited("export", Scope.READ)],
        **tag,
    )(export)
    app.post(
        "/credits/erase/{tenant_id}",
        response_model=ErasureAnswer,
        responses=refusals(problems.UNKNOWN_TENANT),
        dependencies=[ADMINISTRATOR],
        **tag,
    )(erase)
