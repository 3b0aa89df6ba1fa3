"""Charges in the database: the named statements of `charges.sql` as functions; nothing here decides."""

import uuid
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Database, Record
from shieldx_runtime.shadow.service.charge import Charge, State
from shieldx_runtime.shadow.service.store import as_json

_SQL: Final = statements.load(resources.files("shieldx_runtime.shadow.service") / "charges.sql")
_HOLD_OVER_S: Final = 60.0
"""A hold that was asked for and never answered has ended by itself so long after its time."""
_GIVEN_UP_S: Final = 86_400.0
"""So long after its time the ledger need not say any more how a hold ended."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A charge to settle, for the `tries`-th time. `over`: nothing can be held for it any more."""

    charge: Charge
    tries: int
    over: bool


class Charges:
    """Every function is one autocommitted statement and raises DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, charge: Charge, question: dict[str, Any], key: uuid.UUID | None) -> bool:
        """Writes an evaluation down, and with it that it is to be paid. False where the tenant has used the key."""
        told = (charge.eval_id, charge.tenant_id, as_json(question), charge.most, charge.hold_s, key)
        return await self._database.fetch_one(_SQL["open"], *told) is not None

    async def record(self, before: Charge, now: Charge, pause_s: float = 0.0) -> bool:
        """From `before` to `now`; False where somebody else has changed it meanwhile."""
        told = (now.state, now.reservation_id, now.hold_until, now.problem)
        row = await self._database.fetch_one(_SQL["record"], before.eval_id, before.state, *told, pause_s)
        return row is not None

    async def end_lost(self, lost_after_s: float, error: str, most: int) -> int:
        """Fails evaluations of which nobody has told for so long; how many."""
        return len(await self._database.fetch(_SQL["end_lost"], lost_after_s, error, most))

    async def cancel_ended(self, most: int) -> int:
        """Marks what ended evaluations still hold as to be cancelled; how many."""
        return len(await self._database.fetch(_SQL["cancel_ended"], most))

    async def claim(self, lease_s: float, most: int) -> list[Claimed]:
        """Charges that are due, which nobody else gets for `lease_s`."""
        rows = await self._database.fetch(_SQL["claim"], lease_s, most, _HOLD_OVER_S, _GIVEN_UP_S)
        return [Claimed(_charge(row), row["tries"], row["over"]) for row in rows]


def _charge(row: Record) -> Charge:
    reservation: uuid.UUID | None = row["reservation_id"]
    plain = {name: row[name] for name in ("eval_id", "tenant_id", "most", "hold_s", "owed", "hold_until", "problem")}
    return Charge(state=State(row["state"]), reservation_id=reservation, **plain)
