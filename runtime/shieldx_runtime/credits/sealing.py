"""The sealer: puts what writers have appended to their chains into one tree, and signs its head.

Every replica looks now and then whether there is something to do; whoever is first does it. The database takes a round
only on top of the tree that it was computed over, one at a time (an advisory lock), so that two sealers, or one that
comes back from the dead, do no harm. A round is bounded; while there is more, the next follows at once.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from shieldx_runtime.core import log, statements
from shieldx_runtime.core.checkpoint import KeyFileError, Signer
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.merkle import HASH_BYTES, TILE_WIDTH, TileEdge, edge_tiles
from shieldx_runtime.core.settings import SettingsError
from shieldx_runtime.credits.sealing_plan import ORIGIN_PREFIX, TreeState, UnsealedLink, checkpoint, columns, select

MAX_LEAVES: Final = 64 * TILE_WIDTH
_MAX_LINKS: Final = 4096
_MAX_LINKS_OF_A_CHAIN: Final = 1024
_PAUSE_S: Final = 0.003
"""Between two tiles, each of which takes a tenth of it."""
_FAULT_S: Final = 60.0
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "sealing.sql")
_logger = log.get(__name__)


class SealingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.size = Gauge(
            "credits_audit_tree_size",
            "Entries under the last checkpoint, as this replica last saw it",
            registry=registry,
        )
        self.rounds = Counter(
            "credits_audit_checkpoints_signed", "Checkpoints signed by this replica", registry=registry
        )
        self.broken = Gauge(
            "credits_audit_broken_chains",
            "Chains whose next link does not follow from the one before: run `shieldx verify-ledger`",
            registry=registry,
        )


class Source(Protocol):
    """The private key at this moment: a Secret may be rotated."""

    def signer(self) -> Signer:
        """Raises: KeyFileError, SettingsError."""
        ...


class Sealer:
    """Seals by the rounds. `interval_s` is how old the last checkpoint may be before what is new is sealed."""

    def __init__(
        self,
        database: Database,
        source: Source,
        metrics: SealingMetrics,
        *,
        interval_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._source = source
        self._metrics = metrics
        self._interval_s = interval_s
        self._clock = clock
        self._told: set[str] = set()

    async def run(self) -> None:
        """Goes on until it is cancelled, whatever happens."""
        while True:
            pause_s = self._interval_s
            try:
                await self.seal_if_due()
            except DatabaseUnavailableError:
                # the pool's keeper says what is wrong with the database
                pass
            except (KeyFileError, SettingsError) as error:
                _logger.error("nothing is sealed: the audit signing key cannot be used", problem=str(error))  # noqa: TRY400
                pause_s = max(pause_s, _FAULT_S)
            except Exception:
                # it must never end: what is not sealed can be changed unseen
                _logger.exception("sealing failed", next_try_s=_FAULT_S)
                pause_s = max(pause_s, _FAULT_S)
            # jitter, so that replicas do not come in step
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def seal_if_due(self) -> None:
        """Rounds until nothing is left, unless the last checkpoint is young: then another replica is at it.

        Raises:
            DatabaseUnavailableError: nothing was sealed, or it is not known.
            KeyFileError, SettingsError: the key cannot be used.
        """
        row = await self._database.fetch_row(_SQL["tree"])
        self._metrics.size.set(row["size"])
        if row["age_s"] is not None and row["age_s"] < self._interval_s / 2:
            return
        while await self.seal_round():
            pass

    async def seal_round(self) -> bool:
        """Seals at most MAX_LEAVES entries; whether there may be more. Raises: as `seal_if_due`."""
        state = await self._state()
        rows = await self._database.fetch(_SQL["unsealed"], _MAX_LINKS_OF_A_CHAIN, _MAX_LINKS, MAX_LEAVES * HASH_BYTES)
        links = [UnsealedLink(row["chain_id"], row["seq"], row["leaves"], row["hash"]) for row in rows]
        selection = select(links, state.chains, first_index=state.size, max_leaves=MAX_LEAVES)
        self._tell(selection.problems)
        if not selection.leaves:
            return False
        old_size = state.size
        for start in range(0, len(selection.leaves), TILE_WIDTH):
            state.edge.extend(selection.leaves[start : start + TILE_WIDTH])
            # what has piled up is sealed beside the requests, not instead of them
            await asyncio.sleep(_PAUSE_S)
        head = checkpoint(state, selection.segments, self._clock())
        note = self._source.signer().sign(head)
        segments = selection.segments
        row = await self._database.fetch_row(
            _SQL["seal"],
            old_size,
            head.size,
            note,
            head.signed_at,
            *columns(state.edge.take_changed()),
            [s.first_index for s in segments],
            [s.leaves for s in segments],
            [s.chain_id for s in segments],
            [s.first_seq for s in segments],
            [s.last_seq for s in segments],
            [s.last_hash for s in segments],
        )
        if not row["sealed"]:
            return False
        self._metrics.rounds.inc()
        self._metrics.size.set(head.size)
        return (
            selection.cut_off
            or len(links) == _MAX_LINKS
            or any(s.last_seq - s.first_seq + 1 == _MAX_LINKS_OF_A_CHAIN for s in segments)
        )

    async def _state(self) -> TreeState:
        """The stored tree. If somebody seals meanwhile, the round on top of it will not be taken."""
        row = await self._database.fetch_row(_SQL["tree"])
        widths = {tile: width for tile, width in edge_tiles(row["size"]) if width}
        stored = await self._database.fetch(_SQL["edge"], [t.level for t in widths], [t.number for t in widths])
        chains = await self._database.fetch(_SQL["chains"])
        # a tile may have grown between two statements: cut to what it was
        bytes_of = {tile.level: width * HASH_BYTES for tile, width in widths.items()}
        edges = {e["level"]: e["hashes"][: bytes_of[e["level"]]] for e in stored}
        try:
            edge = TileEdge(row["size"], edges)
        except ValueError as error:
            raise RuntimeError(f"the stored audit tree is damaged: {error}: run `shieldx verify-ledger`") from error
        return TreeState(
            origin=f"{ORIGIN_PREFIX}{row['ledger_id']}",
            edge=edge,
            chains={c["chain_id"]: (c["seq"], c["hash"]) for c in chains},
        )

    def _tell(self, problems: list[str]) -> None:
        self._metrics.broken.set(len(problems))
        for problem in problems:
            if problem not in self._told:
                _logger.error("an audit chain is broken and is not sealed any further", problem=problem)
        self._told = set(problems)
