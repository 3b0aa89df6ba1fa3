"""The record of who looked at what: an entry of the audit log for each access to personal data, before it is given.

What cannot be recorded is not given. An entry is a JSON array: "access", the format's version, the time, who (the id of
the API key), what was done, whose data (a tenant or null), the object, from where (the address of the connection), and
the outcome.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final

from fastapi import Depends, Request

from shieldx_contract import TENANT_ID_PATTERN
from shieldx_runtime.core import statements
from shieldx_runtime.core.auth import Principal, Scope
from shieldx_runtime.core.database import Database

GRANTED: Final = "granted"
REFUSED: Final = "refused"
_tenant_id_fits: Final = re.compile(TENANT_ID_PATTERN).fullmatch
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "privacy.sql")


@dataclass(frozen=True, slots=True)
class Access:
    who: str
    action: str
    tenant_id: str | None
    item: str | None
    source: str
    outcome: str

    def entry(self, at: datetime) -> str:
        """What is hashed."""
        moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        parts = ["access", 1, moment, self.who, self.action, self.tenant_id, self.item, self.source, self.outcome]
        return json.dumps(parts, separators=(",", ":"))


class AccessLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, access: Access) -> None:
        """Appends to the audit log. Raises: DatabaseUnavailableError, it is not known whether it is there."""
        await self._database.fetch_row(_SQL["record_access"], access.tenant_id, access.entry(datetime.now(UTC)))


def source_of(request: Request) -> str:
    """Where a request came from. What a header says about it is anybody's word and not taken."""
    return request.client.host if request.client else ""


def audited(action: str, scope: Scope) -> Any:
    """A route's dependency: records the access before the route runs, with the outcome that its key has.

    The tenant is the path's `tenant_id`, the object the path itself.
    """

    async def record(request: Request) -> None:
        principal: Principal = request.state.principal
        tenant_id = request.path_params.get("tenant_id")
        if tenant_id is not None and not _tenant_id_fits(tenant_id):
            # no tenant's: the route refuses it, and the log could not hold every text that a path can
            return
        allowed = scope in principal.scopes and (tenant_id is None or principal.may_act_for(tenant_id))
        outcome = GRANTED if allowed else REFUSED
        log: AccessLog = request.app.state.accesses
        await log.record(Access(principal.key_id, action, tenant_id, request.url.path, source_of(request), outcome))

    recorder: Callable[[Request], Awaitable[None]] = record
    return Depends(recorder)
