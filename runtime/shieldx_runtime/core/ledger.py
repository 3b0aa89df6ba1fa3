"""What a slice that keeps a ledger offers to backups, so that neither imports the other: the command line joins them.

Every call works on an open connection, in whatever transaction its caller holds.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from shieldx_runtime.core.database import Connection

Position: TypeAlias = dict[str, dict[str, str]]
"""How far rows are known elsewhere: by table, by key, a token that changes with the rows under that key."""


class LedgerGapError(Exception):
    """The database does not continue a position; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The ends of all audit chains at one snapshot: how many chains and entries, and one digest over all ends."""

    chains: int
    entries: int
    root: str


@dataclass(frozen=True, slots=True)
class Change:
    """Rows of one table, whole, as JSON objects by column. `tokens` is how they move a position; None: the key is gone.

    Rows of one change belong together; changes are in an order in which they can be written.
    """

    table: str
    tokens: Mapping[str, str | None]
    rows: tuple[Mapping[str, Any], ...]


class Ledger(Protocol):
    @property
    def schema(self) -> str:
        """The schema of the database that has the ledger."""
        ...

    async def checkpoint(self, connection: Connection) -> Checkpoint:
        """The ends of the chains as this transaction sees them."""
        ...

    async def verify(self, connection: Connection) -> list[str]:
        """What does not add up, a line each, boundedly many; empty: sums equal balances and every chain verifies."""
        ...

    def changes(self, connection: Connection, position: Position) -> AsyncIterator[Change]:
        """Everything that this transaction sees beyond `position`, in bounded pieces. To be used in a transaction.

        Raises:
            LedgerGapError: the database is behind the position, or went another way.
        """
        ...

    async def replay(self, connection: Connection, changes: list[Change]) -> int:
        """Writes what changes hold and the database does not have; rows written. Repeating it changes nothing."""
        ...

    async def migrate(self, uri_file: Any) -> int:
        """Brings a restored database up to this release; how many migrations that took."""
        ...
