"""The named statements of `statements.sql` as functions; nothing here decides."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Database, Record
from shieldx_runtime.core.migrations import Migration, applied_statement, load
from shieldx_runtime.shadow.service.charge import State

SCHEMA: Final = "shadow"
_SQL: Final = statements.load(resources.files("shieldx_runtime.shadow.service") / "statements.sql")
_APPLIED: Final = applied_statement(SCHEMA)


def migrations() -> tuple[Migration, ...]:
    return load(resources.files("shieldx_runtime.shadow") / "migrations")


@dataclass(frozen=True, slots=True)
class Kept:
    """An evaluation as it stands: `judged` of `samples`. `lost`: nobody has worked on it for a while.

    `charge` None: it costs nothing. `credits`: what was taken, or what is held for it.
    """

    eval_id: uuid.UUID
    tenant_id: str
    status: str
    answer: dict[str, Any] | None
    mistakes: dict[str, Any] | None
    error: str | None
    judged: int
    samples: int
    lost: bool
    charge: State | None = None
    credits: int = 0


@dataclass(frozen=True, slots=True)
class Before:
    """An evaluation that was asked for under a key. `same`: by the same question."""

    eval_id: uuid.UUID
    status: str
    same: bool


class Store:
    """Every function is one autocommitted statement and raises DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        await self._database.fetch_row("SELECT 1")

    async def applied_migrations(self) -> dict[int, str]:
        return {row["version"]: row["sha256"] for row in await self._database.fetch(_APPLIED)}

    async def insert_samples(self, tenant_id: str, lines: Sequence[bytes]) -> None:
        await self._database.fetch(_SQL["insert_samples"], tenant_id, list(lines))

    async def samples(self, tenant_id: str, after_id: int, window_s: float, most: int) -> list[tuple[int, bytes]]:
        """The tenant's lines of the last `window_s` seconds that follow `after_id`, in the order of their arrival."""
        rows = await self._database.fetch(_SQL["samples_page"], tenant_id, after_id, window_s, most)
        return [(row["id"], row["line"]) for row in rows]

    async def insert_evaluation(
        self, eval_id: uuid.UUID, tenant_id: str, question: dict[str, Any], key: uuid.UUID | None
    ) -> bool:
        """False where the tenant has used the key for another evaluation."""
        told = (eval_id, tenant_id, as_json(question), key)
        return await self._database.fetch_one(_SQL["insert_evaluation"], *told) is not None

    async def asked_before(self, tenant_id: str, key: uuid.UUID, question: dict[str, Any]) -> Before | None:
        """The evaluation for which the tenant has used the key."""
        row = await self._database.fetch_one(_SQL["asked_before"], tenant_id, key, as_json(question))
        return None if row is None else Before(row["eval_id"], row["status"], row["same"])

    async def start(self, eval_id: uuid.UUID) -> bool:
        """From queued to running. False where it has come to an end meanwhile: somebody cancelled it."""
        return await self._database.fetch_one(_SQL["start"], eval_id) is not None

    async def beat(self, working: Sequence[tuple[uuid.UUID, int, int]]) -> set[uuid.UUID]:
        """Tells that somebody works on these, with the numbers judged and wanted; those that have not ended."""
        columns = [list(column) for column in zip(*working, strict=True)]
        return {row["eval_id"] for row in await self._database.fetch(_SQL["beat"], *columns)}

    async def cancel(self, eval_id: uuid.UUID, tenant_id: str | None) -> bool:
        """False where there is none that this tenant may see, or it has come to an end."""
        return await self._database.fetch_one(_SQL["cancel"], eval_id, tenant_id) is not None

    async def finish(  # noqa: PLR0913 - the columns of a row
        self,
        eval_id: uuid.UUID,
        status: str,
        *,
        digest: bytes | None = None,
        answer: dict[str, Any] | None = None,
        mistakes: dict[str, Any] | None = None,
        error: str | None = None,
        judged: int | None = None,
        owed: int = 0,
        refused: bool = False,
    ) -> None:
        """The end of one that has not ended yet. `owed`: credits that its answer costs; `refused`: its key is free."""
        told = (as_json(answer), as_json(mistakes), error, judged, owed, refused)
        await self._database.fetch(_SQL["finish"], eval_id, status, digest, *told)

    async def cached(self, tenant_id: str, digest: bytes, age_s: float) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Answer and mistakes of the same question about the same samples, at most `age_s` old."""
        row = await self._database.fetch_one(_SQL["cached"], tenant_id, digest, age_s)
        return None if row is None else (json.loads(row["answer"]), json.loads(row["mistakes"]))

    async def evaluation(self, eval_id: uuid.UUID, tenant_id: str | None, lost_after_s: float) -> Kept | None:
        """`tenant_id` None: of any tenant. An evaluation of another tenant is an unknown one."""
        row = await self._database.fetch_one(_SQL["evaluation"], eval_id, tenant_id, lost_after_s)
        if row is None:
            return None
        answer, mistakes = (None if row[name] is None else json.loads(row[name]) for name in ("answer", "mistakes"))
        plain = {name: row[name] for name in ("eval_id", "tenant_id", "status", "error", "judged", "samples", "lost")}
        charge = State(row["charge"]) if row["charge"] else None
        return Kept(answer=answer, mistakes=mistakes, charge=charge, credits=_credits(charge, row), **plain)

    async def forget(self, samples_age_s: float, evaluations_age_s: float, most: int) -> int:
        """Deletes at most `most` of each that are older; how many went."""
        samples = await self._database.fetch(_SQL["forget_samples"], samples_age_s, most)
        evaluations = await self._database.fetch(_SQL["forget_evaluations"], evaluations_age_s, most)
        return len(samples) + len(evaluations)


def _credits(charge: State | None, row: Record) -> int:
    """What an evaluation has cost, will cost, or may."""
    if charge in (State.RESERVING, State.HELD):
        return int(row["most"])
    return int(row["owed"]) if charge in (State.COMMITTING, State.COMMITTED) else 0


def as_json(value: dict[str, Any] | None) -> str | None:
    """What a jsonb column takes."""
    # PostgreSQL's jsonb takes no NUL, which a payload may have: shown as the sign for it
    return None if value is None else json.dumps(value).replace("\\u0000", "\\u2400")
