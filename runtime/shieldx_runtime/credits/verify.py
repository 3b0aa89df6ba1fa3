"""Whether a ledger adds up: sums, running balances, audit chains, and that ledger and audit log tell the same."""

from importlib import resources
from typing import Final

from shieldx_runtime.core import statements
from shieldx_runtime.core.database import Connection
from shieldx_runtime.core.ledger import Checkpoint

_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "verify.sql")
_CHECKS: Final = (
    *("sums", "totals", "reserved", "running_balances", "running_totals", "former", "tree"),
    *("links", "link_ends", "leaves", "leaves_without_entries", "events", "event_ends"),
)
_SHOWN: Final = 20
"""Faults told of each kind."""


async def verify(connection: Connection) -> list[str]:
    """What does not add up, a line each, at most 20 of a kind; empty: everything does.

    All checks see one snapshot if the caller holds a transaction of isolation repeatable read.
    """
    problems: list[str] = []
    for name in _CHECKS:
        problems += [row["problem"] for row in await connection.fetch(_SQL[name], _SHOWN)]
    return problems


async def checkpoint(connection: Connection) -> Checkpoint:
    """The ends of all audit chains, as this transaction sees them."""
    row = await connection.fetchrow(_SQL["checkpoint"])
    if row is None:
        raise RuntimeError("an aggregate that always gives a row gave none")
    return Checkpoint(chains=row["chains"], entries=row["entries"], root=row["root"])
