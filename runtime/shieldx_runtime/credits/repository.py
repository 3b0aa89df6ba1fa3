"""The named statements of `statements.sql` as functions; nothing here decides."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any, Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.auth import Scope, StoredKey
from shieldx_runtime.core.database import Database, Record
from shieldx_runtime.core.migrations import Migration, applied_statement, load
from shieldx_runtime.credits.model import (
    Account,
    Consume,
    Entry,
    Grant,
    Outcome,
    Purchase,
    Ready,
    Result,
    request_hash,
)
from shieldx_runtime.credits.privacy_texts import DESCRIPTION, REFERENCE, Draft, Stored, Texts

SCHEMA: Final = "credits"
_FOLDER: Final = resources.files("shieldx_runtime.credits")
_SQL: Final = statements.load(_FOLDER / "statements.sql")
_APPLIED: Final = applied_statement(SCHEMA)
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


def migrations() -> tuple[Migration, ...]:
    return load(_FOLDER / "migrations")


class Repository:
    """Every function is one autocommitted statement and raises DatabaseUnavailableError."""

    def __init__(self, database: Database, texts: Texts | None = None) -> None:
        """`texts` seals descriptions and references; without it they are stored and told as they are."""
        self._database = database
        self._texts = texts

    def ready(self, consume: Consume) -> Ready:
        """Makes of a consume what needs no I/O, while an earlier batch is in the database."""
        texts = self._texts.seal_at_once(consume) if self._texts else (consume.description, consume.reference)
        return Ready(consume, consume.request_hash(), texts)

    async def consume(self, wishes: Sequence[Ready], wait: bool) -> list[Result]:
        """Decides them in their order, in one transaction. `wait`: for accounts that somebody else has locked."""
        consumes = [wish.consume for wish in wishes]
        texts = [wish.texts for wish in wishes]
        if self._texts and None in texts:
            late = iter(await self._texts.seal([wish.consume for wish in wishes if wish.texts is None]))
            texts = [next(late) if sealed is None else sealed for sealed in texts]
        rows = await self._database.fetch(
            _SQL["consume_batch"],
            wait,
            [c.tenant_id for c in consumes],
            [c.amount for c in consumes],
            [c.idempotency_key for c in consumes],
            [wish.request_hash for wish in wishes],
            [c.key_id for c in consumes],
            [sealed and sealed[0] for sealed in texts],
            [sealed and sealed[1] for sealed in texts],
        )
        return [_consumed(consume, row) for consume, row in zip(consumes, rows, strict=True)]

    async def purchase(self, purchase: Purchase, key_id: str) -> Result:
        reference = purchase.reference
        if self._texts:
            draft = Draft(purchase.tenant_id, str(purchase.idempotency_key), None, reference)
            ((_, reference),) = await self._texts.seal([draft])
        row = await self._database.fetch_row(
            _SQL["purchase"],
            purchase.tenant_id,
            purchase.amount,
            purchase.idempotency_key,
            purchase.request_hash(),
            key_id,
            reference,
            purchase.source,
            purchase.priority,
            purchase.expires_at,
        )
        return _moved(row)

    async def refund(
        self, transaction_id: uuid.UUID, amount: int, *, key: uuid.UUID, key_id: str, only_tenant_id: str | None
    ) -> Result:
        """`only_tenant_id`: a transaction of another tenant is an unknown one."""
        digest = request_hash("refund", str(transaction_id), amount)
        row = await self._database.fetch_row(
            _SQL["refund"], transaction_id, only_tenant_id, amount, key, digest, key_id
        )
        return _moved(row)

    async def reserve(self, tenant_id: str, amount: int, *, expires_in_s: int, key: uuid.UUID, key_id: str) -> Result:
        digest = request_hash("reserve", tenant_id, amount, expires_in_s)
        row = await self._database.fetch_row(_SQL["reserve"], tenant_id, amount, expires_in_s, key, digest, key_id)
        return _moved(row)

    async def close_hold(
        self, reservation_id: uuid.UUID, amount: int | None, *, key: uuid.UUID, key_id: str, only_tenant_id: str | None
    ) -> Result:
        """Commits `amount`, or cancels (None)."""
        digest = request_hash("cancel" if amount is None else "commit", str(reservation_id), amount)
        row = await self._database.fetch_row(
            _SQL["close_hold"], reservation_id, only_tenant_id, amount, key, digest, key_id
        )
        return _moved(row)

    async def settle(self, tenant_id: str) -> Account | None:
        """The account after everything that was due has been carried out."""
        row = await self._database.fetch_one(_SQL["settle"], tenant_id)
        return _account(tenant_id, row) if row else None

    async def due(self, limit: int) -> list[str]:
        """Tenants of whom a grant or a hold has expired, the longest ago first."""
        return [row["tenant_id"] for row in await self._database.fetch(_SQL["due"], limit)]

    async def busiest(self, entries: int, limit: int) -> list[Account]:
        """The accounts with the most of the last so many entries of the ledger, the busiest first."""
        rows = await self._database.fetch(_SQL["busiest"], entries, limit)
        return [_account(row["tenant_id"], row) for row in rows]

    async def account_at(self, tenant_id: str, moment: datetime) -> Account:
        row = await self._database.fetch_row(_SQL["account_at"], tenant_id, moment)
        return Account(
            tenant_id=tenant_id,
            balance=row["balance"],
            reserved_funds=row["reserved"],
            total_spent=row["spent"] - row["refunded"],
            total_purchased=row["purchased"],
            version=0,
        )

    async def grants(self, tenant_id: str, after: tuple[datetime, uuid.UUID], limit: int) -> list[Grant]:
        rows = await self._database.fetch(_SQL["grants"], tenant_id, *after, limit)
        return [Grant(**row) for row in await self._readable(tenant_id, rows, (REFERENCE,))]

    async def transactions(
        self,
        tenant_id: str,
        *,
        before_version: int,
        kinds: list[str] | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> list[Entry]:
        """The newest first."""
        rows = await self._database.fetch(_SQL["transactions"], tenant_id, before_version, kinds, since, until, limit)
        return [Entry(**row) for row in await self._readable(tenant_id, rows, (DESCRIPTION, REFERENCE))]

    async def _readable(self, tenant_id: str, rows: list[Record], names: tuple[str, ...]) -> list[dict[str, Any]]:
        """The rows without their keys, with their texts opened."""
        found = [{name: value for name, value in row.items() if name != "idempotency_key"} for row in rows]
        if self._texts:
            stored = [Stored(name, str(row["idempotency_key"] or ""), row[name]) for row in rows for name in names]
            opened = iter(await self._texts.open(tenant_id, stored))
            for record in found:
                record.update({name: next(opened) for name in names})
        return found

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
            rate_limit=row["rate_limit"],
        )

    async def insert_key(self, key: StoredKey) -> bool:
        """False where the id is taken. The tenant must exist."""
        row = await self._database.fetch_one(
            _SQL["insert_api_key"],
            key.key_id,
            key.key_hash,
            key.tenant_id,
            _names(key.scopes),
            key.expires_at,
            key.rate_limit,
        )
        return row is not None

    async def update_key(self, key: StoredKey) -> bool:
        """Another expiry, other scopes, another limit. False where the key is revoked or unknown."""
        row = await self._database.fetch_one(
            _SQL["update_api_key"], key.key_id, _names(key.scopes), key.expires_at, key.rate_limit
        )
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
        next_event_at=row["next_event_at"],
    )


def _consumed(consume: Consume, row: Record) -> Result:
    outcome, replayed, transaction_id, balance, available, version, spent, purchased, next_event_at = row
    account = None
    if outcome == "done" and not replayed:
        account = Account(consume.tenant_id, balance, balance - available, spent, purchased, version, next_event_at)
    return Result(_OUTCOMES[outcome], replayed, transaction_id, balance or 0, available or 0, account)


def _moved(row: Record) -> Result:
    outcome, tenant_id = Outcome(row["o_outcome"]), row["o_tenant_id"] or ""
    account = None
    if outcome is Outcome.DONE and not row["o_replayed"]:
        account = Account(
            tenant_id=tenant_id,
            balance=row["o_balance"],
            reserved_funds=row["o_reserved_funds"],
            total_spent=row["o_total_spent"],
            total_purchased=row["o_total_purchased"],
            version=row["o_version"],
            next_event_at=row["o_next_event_at"],
        )
    return Result(
        outcome=outcome,
        replayed=bool(row["o_replayed"]),
        transaction_id=row["o_transaction_id"],
        balance=row["o_balance"] or 0,
        available=row["o_available"] or 0,
        account=account,
        tenant_id=tenant_id,
        expires_at=row["o_expires_at"],
        limit=row["o_limit"] or 0,
        state=row["o_state"] or "",
    )


def _names(scopes: frozenset[Scope]) -> list[str]:
    return sorted(s.value for s in scopes)
