"""The named statements of `statements.sql` as functions; nothing here decides."""

from datetime import datetime
from importlib import resources
from typing import Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.auth import Scope, StoredKey
from shieldx_runtime.core.database import Database, Record
from shieldx_runtime.core.migrations import Migration, applied_statement, load
from shieldx_runtime.credits.model import Account, Movement, Outcome, Result

SCHEMA: Final = "credits"
_FOLDER: Final = resources.files("shieldx_runtime.credits")
_SQL: Final = statements.load(_FOLDER / "statements.sql")
_APPLIED: Final = applied_statement(SCHEMA)


def migrations() -> tuple[Migration, ...]:
    return load(_FOLDER / "migrations")


class Repository:
    """Every function is one autocommitted statement and raises DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def move(self, movement: Movement, key_id: str) -> Result:
        row = await self._database.fetch_row(
            _SQL["move"],
            movement.kind.value,
            movement.tenant_id,
            movement.amount,
            movement.idempotency_key,
            movement.request_hash(),
            key_id,
            movement.description,
            movement.reference,
            movement.source,
        )
        outcome = Outcome(row["outcome"])
        decided = outcome in (Outcome.DONE, Outcome.INSUFFICIENT)
        return Result(
            outcome=outcome,
            replayed=row["replayed"],
            transaction_id=row["transaction_id"],
            balance=row["balance"] or 0,
            available=row["available"] or 0,
            account=_account(movement.tenant_id, row) if decided and not row["replayed"] else None,
        )

    async def account(self, tenant_id: str) -> Account | None:
        row = await self._database.fetch_one(_SQL["account"], tenant_id)
        return _account(tenant_id, row) if row else None

    async def create_account(self, tenant_id: str) -> Account | None:
        """The new account, or None where there is one already."""
        row = await self._database.fetch_one(_SQL["create_account"], tenant_id)
        return _account(tenant_id, row) if row else None

    async def key(self, key_id: str) -> StoredKey | None:
        row = await self._database.fetch_one(_SQL["api_key"], key_id)
        if row is None:
            return None
        return StoredKey(
            key_id=row["key_id"],
            key_hash=row["key_hash"],
            tenant_id=row["tenant_id"],
            scopes=frozenset(Scope(s) for s in row["scopes"]),
            expires_at=row["expires_at"],
            revoked=row["revoked_at"] is not None,
        )

    async def insert_key(self, key: StoredKey) -> bool:
        """False where the id is taken. The tenant must exist."""
        row = await self._database.fetch_one(
            _SQL["insert_api_key"], key.key_id, key.key_hash, key.tenant_id, _names(key.scopes), key.expires_at
        )
        return row is not None

    async def update_key(self, key_id: str, scopes: frozenset[Scope], expires_at: datetime | None) -> bool:
        """False where the key is revoked or unknown."""
        row = await self._database.fetch_one(_SQL["update_api_key"], key_id, _names(scopes), expires_at)
        return row is not None

    async def revoke_key(self, key_id: str) -> bool:
        """False where there was nothing to revoke."""
        return await self._database.fetch_one(_SQL["revoke_api_key"], key_id) is not None

    async def maintain_idempotency(self, days_ahead: int) -> tuple[int, int]:
        """How many partitions were made and dropped."""
        row = await self._database.fetch_row(_SQL["maintain_idempotency"], days_ahead)
        return row["created"], row["dropped"]

    async def partition_of_today_present(self) -> bool:
        row = await self._database.fetch_row(_SQL["partition_of_today"])
        return bool(row["present"])

    async def applied_migrations(self) -> dict[int, str]:
        """Versions with the SHA-256 of what was applied."""
        return {row["version"]: row["sha256"] for row in await self._database.fetch(_APPLIED)}

    async def ping(self) -> None:
        await self._database.fetch_one("SELECT 1")


def _account(tenant_id: str, row: Record) -> Account:
    return Account(
        tenant_id=tenant_id,
        balance=row["balance"],
        reserved_funds=row["reserved_funds"],
        total_spent=row["total_spent"],
        total_purchased=row["total_purchased"],
        version=row["version"],
    )


def _names(scopes: frozenset[Scope]) -> list[str]:
    return sorted(s.value for s in scopes)
