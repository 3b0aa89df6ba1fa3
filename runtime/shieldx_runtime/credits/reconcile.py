"""Recomputes a tenant's account out of its ledger and compares: account, grants, holds, audit log, and the caches."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Protocol

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Database
from shieldx_runtime.credits.balances import BalanceCache
from shieldx_runtime.credits.model import Account
from shieldx_runtime.credits.repository import Repository

_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "reconcile.sql")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` has `found` where it should have `expected`."""

    what: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.what} is {self.found}, recomputed {self.expected}"


class Source(Protocol):
    """A pool, or one connection."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]: ...


async def differences(source: Source, tenant_id: str) -> list[Difference]:
    """What of a tenant does not agree in the database, as of one moment; a tenant without account has none."""
    return [Difference(**row) for row in await source.fetch(_SQL["tenant"], tenant_id)]


async def tenants(source: Source) -> AsyncIterator[str]:
    """All tenants, in the order of their ids."""
    after = ""
    while page := [row["tenant_id"] for row in await source.fetch(_SQL["tenants"], after, _PAGE)]:
        for tenant_id in page:
            yield tenant_id
        after = page[-1]


def cache_differences(tier: str, cached: Account | None, account: Account) -> list[Difference]:
    """What a tier says otherwise. `cached` was read before `account`: an older version is late, not wrong."""
    if cached is None or cached.version < account.version:
        return []
    names = ("version", "balance", "reserved_funds", "total_spent", "total_purchased")
    pairs = [(name, getattr(cached, name), getattr(account, name)) for name in names]
    return [
        Difference(f"{tier}: {name}", str(found), str(expected)) for name, found, expected in pairs if found != expected
    ]


class Reconciler:
    """Compares also what this process and Redis have cached."""

    def __init__(self, database: Database, balances: BalanceCache) -> None:
        self._database = database
        self._repository = Repository(database)
        self._balances = balances

    async def reconcile(self, tenant_id: str) -> tuple[Account, list[Difference]] | None:
        """The account as it stands, and what does not agree with it; None: there is no such tenant.

        Raises: DatabaseUnavailableError.
        """
        cached = await self._balances.peek(tenant_id)
        account = await self._repository.account(tenant_id)
        if account is None:
            return None
        found = await differences(self._database, tenant_id)
        for tier, seen in cached.items():
            found += cache_differences(tier, seen, account)
        return account, found
