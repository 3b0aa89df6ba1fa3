"""Proofs about the ledger's audit log: that an entry is in it, and that it only ever grew."""

import uuid
from dataclasses import dataclass
from importlib import resources
from typing import Final

from shieldx_runtime.core import log, statements
from shieldx_runtime.core.auth import Principal
from shieldx_runtime.core.checkpoint import Checkpoint, parse
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.merkle import (
    ProofError,
    Range,
    Tile,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    roots,
    tiles_of,
    verify_inclusion,
)
from shieldx_runtime.core.problems import Kind, ProblemError, invalid_field

NO_CHECKPOINT: Final = Kind("no-checkpoint", 404, "No checkpoint")
NOT_SEALED: Final = Kind("not-sealed-yet", 409, "Not sealed yet")
UNKNOWN_ENTRY: Final = Kind("unknown-transaction", 404, "Unknown transaction")
ENTRY_ALTERED: Final = Kind("entry-altered", 500, "Entry altered")
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "proofs.sql")
_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint and the note in which it was signed."""

    head: Checkpoint
    note: str


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That `entry` is leaf `leaf_index` of the tree under `signed`."""

    entry: str
    leaf_index: int
    path: list[bytes]
    signed: SignedHead


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of `from_size` leaves is the beginning of the one under `signed`."""

    from_size: int
    path: list[bytes]
    signed: SignedHead


class Proofs:
    """Every method raises ProblemError for a refusal, and DatabaseUnavailableError."""

    def __init__(self, database: Database, *, seal_interval_s: float) -> None:
        self._database = database
        self._retry_after = {"Retry-After": str(max(1, round(seal_interval_s)))}

    async def checkpoint(self) -> SignedHead:
        """The newest checkpoint.

        Raises:
            ProblemError: 404, none was ever signed.
        """
        row = await self._database.fetch_one(_SQL["checkpoint"])
        if row is None:
            raise ProblemError(
                NO_CHECKPOINT,
                "no checkpoint has been signed yet: wait for the first; without an audit signing key none ever is",
                headers=self._retry_after,
            )
        return SignedHead(parse(row["note"].partition("\n\n")[0] + "\n"), row["note"])

    async def inclusion(self, principal: Principal, transaction_id: uuid.UUID) -> Inclusion:
        """That the transaction's entry is in the log.

        Raises:
            ProblemError: 404 unknown transaction or not the caller's; 409 it is in no checkpoint yet; 500 the row is
                not the one that was sealed.
        """
        row = await self._database.fetch_one(_SQL["entry"], transaction_id)
        row = row or await self._database.fetch_one(_SQL["former_entry"], transaction_id)
        if row is None or not principal.may_act_for(row["tenant_id"]):
            raise ProblemError(UNKNOWN_ENTRY, f"there is no transaction {transaction_id}: check the id")
        if row["leaf_index"] is None:
            raise ProblemError(
                NOT_SEALED,
                f"transaction {transaction_id} is in no signed checkpoint yet: ask again in a moment",
                headers=self._retry_after,
            )
        index = int(row["leaf_index"])
        # read after the place: a checkpoint that has it exists
        signed = await self.checkpoint()
        path = await self._path(inclusion_ranges(index, signed.head.size))
        try:
            verify_inclusion(leaf_hash(row["entry"].encode()), index, signed.head.size, path, signed.head.root)
        except ProofError as error:
            _logger.error("a sealed entry was altered", transaction_id=str(transaction_id), leaf_index=index)  # noqa: TRY400
            raise ProblemError(
                ENTRY_ALTERED,
                f"the ledger's row of transaction {transaction_id} is not the one that was sealed as leaf {index}: "
                "export the ledger and run `shieldx verify-ledger`",
            ) from error
        return Inclusion(row["entry"], index, path, signed)

    async def consistency(self, from_size: int) -> Consistency:
        """That the log at `from_size` entries is the beginning of what the newest checkpoint has.

        Raises:
            ProblemError: 404 no checkpoint; 422 the log never had so many entries.
        """
        signed = await self.checkpoint()
        if not 1 <= from_size <= signed.head.size:
            raise invalid_field(
                "from",
                f"it is not from 1 to {signed.head.size}, the size of the newest checkpoint",
                "send the size of a checkpoint that you have kept",
            )
        path = await self._path(consistency_ranges(from_size, signed.head.size))
        return Consistency(from_size, path, signed)

    async def _path(self, ranges: list[Range]) -> list[bytes]:
        wanted = sorted(tiles_of(ranges))
        rows = await self._database.fetch(_SQL["tiles"], [t.level for t in wanted], [t.number for t in wanted])
        return roots(ranges, {Tile(row["level"], row["number"]): row["hashes"] for row in rows})
