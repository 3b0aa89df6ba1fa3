"""What a tenant may ask for: all that is known about it, and that its texts are gone for good."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final

from shieldx_runtime.core import log, statements
from shieldx_runtime.core.auth import Principal
from shieldx_runtime.core.database import Database, Record
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.privacy_access import GRANTED, Access
from shieldx_runtime.credits.privacy_texts import DESCRIPTION, REFERENCE, Stored, Texts

FORMAT: Final = "shieldx-tenant-export/1"
SECTIONS: Final = ("account", "alerts", "grants", "transactions", "keys", "accesses")
_COUNT_TIMEOUT_S: Final = 0.5
_COUNT_LIMIT: Final = 100_000
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "privacy.sql")
_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an export a page begins: behind the row at `position` of a section ('' before the first)."""

    section: str = SECTIONS[0]
    position: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Records of an export, and where the next page begins; None: this was the last."""

    records: list[dict[str, Any]]
    following: Place | None


@dataclass(frozen=True, slots=True)
class Erasure:
    """`plain_texts`: entries whose texts were stored before they were sealed, and stay; None: not counted in time."""

    keys_destroyed: int
    plain_texts: int | None
    erased_at: datetime


class Privacy:
    """Every method raises ProblemError for a refusal, and DatabaseUnavailableError."""

    def __init__(self, database: Database, texts: Texts) -> None:
        self._database = database
        self._texts = texts

    async def export_page(self, principal: Principal, tenant_id: str, place: Place, limit: int) -> Page:
        """At most `limit` records from `place` on.

        Raises:
            ProblemError: 404, unknown tenant.
        """
        if not principal.may_act_for(tenant_id):
            raise problems.unknown_tenant(tenant_id)
        records: list[dict[str, Any]] = []
        for number in range(SECTIONS.index(place.section), len(SECTIONS)):
            section = SECTIONS[number]
            position = place.position if section == place.section else ""
            room = limit - len(records)
            if room == 0:
                return Page(records, Place(section))
            rows = await self._database.fetch(_SQL[f"export_{section}"], tenant_id, position, room + 1)
            if section == SECTIONS[0] and not rows and not position:
                raise problems.unknown_tenant(tenant_id)
            records += await self._written(tenant_id, section, rows[:room])
            if len(rows) > room:
                return Page(records, Place(section, rows[room - 1]["position"]))
        return Page(records, None)

    async def erase(self, principal: Principal, tenant_id: str, source: str) -> Erasure:
        """Destroys the keys of the tenant's texts. Done again, it finds nothing to destroy.

        Raises:
            ProblemError: 404, unknown tenant.
        """
        erased_at = datetime.now(UTC)
        access = Access(principal.key_id, "erase", tenant_id, f"/credits/erase/{tenant_id}", source, GRANTED)
        row = await self._database.fetch_row(_SQL["erase"], tenant_id, access.entry(erased_at))
        if not row["known"]:
            raise problems.unknown_tenant(tenant_id)
        self._texts.forget(tenant_id)
        _logger.info("a tenant's texts were erased", tenant_id=tenant_id, keys_destroyed=row["destroyed"])
        return Erasure(row["destroyed"], await self._plain_texts(tenant_id), erased_at)

    async def _plain_texts(self, tenant_id: str) -> int | None:
        """Counts within bounds: the erasure is done, and its answer does not wait for a large tenant's ledger."""
        try:
            async with asyncio.timeout(_COUNT_TIMEOUT_S):
                row = await self._database.fetch_row(_SQL["plain_texts"], tenant_id, _COUNT_LIMIT)
        except (TimeoutError, DatabaseUnavailableError):
            return None
        return int(row["found"])

    async def _written(self, tenant_id: str, section: str, rows: list[Record]) -> list[dict[str, Any]]:
        found = [{name: _json(value) for name, value in row.items() if name != "position"} for row in rows]
        if section in ("grants", "transactions"):
            names = (REFERENCE,) if section == "grants" else (DESCRIPTION, REFERENCE)
            stored = [Stored(name, str(row["idempotency_key"] or ""), row[name]) for row in rows for name in names]
            opened = iter(await self._texts.open(tenant_id, stored))
            for record in found:
                record |= {name: next(opened) for name in names}
        return [{"type": _TYPES[section], **_shaped(section, record)} for record in found]


_TYPES: Final[Mapping[str, str]] = {
    "account": "account",
    "alerts": "alert_rule",
    "grants": "grant",
    "transactions": "transaction",
    "keys": "key",
    "accesses": "access",
}


def _shaped(section: str, record: dict[str, Any]) -> dict[str, Any]:
    if section == "account":
        return {"format": FORMAT, **record}
    if section == "grants":
        del record["idempotency_key"]
    if section == "accesses":
        _, _, at, who, action, _, item, source, outcome = json.loads(record["entry"])
        return {"at": at, "key_id": who, "action": action, "object": item, "from": source, "outcome": outcome}
    return record


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value
