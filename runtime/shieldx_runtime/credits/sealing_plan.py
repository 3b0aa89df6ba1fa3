"""What one round of sealing adds to the tree: links in, tiles and segments out. Pure.

A link is taken only if its hash follows from the one before: what was changed behind the writers' backs is never
signed. Its chain stops there, the others go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from shieldx_runtime.core.checkpoint import Checkpoint
from shieldx_runtime.core.merkle import HASH_BYTES, Tile, TileEdge, split
from shieldx_runtime.credits.export_format import chain_hash, chains_digest

ORIGIN_PREFIX: Final = "shieldx.io/credits/"
_START: Final = (0, bytes(HASH_BYTES))


@dataclass(frozen=True, slots=True)
class UnsealedLink:
    """A link of a chain that is not in the tree yet; `leaves` are its entries' hashes, one after the other."""

    chain_id: int
    seq: int
    leaves: bytes
    hash: bytes


@dataclass(slots=True)
class Segment:
    """A run of links of one chain in the tree. `first_index` is its first leaf, `last_hash` its last link's."""

    first_index: int
    leaves: int
    chain_id: int
    first_seq: int
    last_seq: int
    last_hash: bytes


@dataclass(slots=True)
class Selection:
    """The links of a round by chain, and what is wrong with those at which chains stop."""

    segments: list[Segment] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    cut_off: bool = False
    """There were more links than the round may have."""


@dataclass(slots=True)
class TreeState:
    """The tree as it is stored: the ends of its chains, and the edge that grows."""

    origin: str
    edge: TileEdge
    chains: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.edge.size


def select(
    links: Iterable[UnsealedLink], chains: Mapping[int, tuple[int, bytes]], *, first_index: int, max_leaves: int
) -> Selection:
    """Takes links in the order in which they come, chain by chain, until there are `max_leaves` leaves.

    A first link is taken however many leaves it has.
    """
    selection = Selection()
    stopped: set[int] = set()
    current: Segment | None = None
    for link in links:
        if link.chain_id in stopped:
            continue
        count = len(link.leaves) // HASH_BYTES
        if selection.leaves and len(selection.leaves) + count > max_leaves:
            selection.cut_off = True
            break
        if current is None or current.chain_id != link.chain_id:
            seq, before = chains.get(link.chain_id, _START)
            current = Segment(first_index + len(selection.leaves), 0, link.chain_id, seq + 1, seq, before)
        problem = _problem(link, current)
        if problem:
            selection.problems.append(problem)
            stopped.add(link.chain_id)
            continue
        if current.leaves == 0:
            selection.segments.append(current)
        current.leaves += count
        current.last_seq, current.last_hash = link.seq, link.hash
        selection.leaves.extend(split(link.leaves))
    return selection


def _problem(link: UnsealedLink, segment: Segment) -> str:
    if link.seq != segment.last_seq + 1:
        return f"audit chain {link.chain_id}: link {segment.last_seq + 1} is missing, link {link.seq} follows"
    if not link.leaves or len(link.leaves) % HASH_BYTES:
        return f"audit chain {link.chain_id}: link {link.seq} has {len(link.leaves)} bytes of leaves"
    if chain_hash(segment.last_hash, link.leaves) != link.hash:
        return f"audit chain {link.chain_id}: the hash of link {link.seq} does not follow from its leaves"
    return ""


def checkpoint(state: TreeState, segments: Sequence[Segment], signed_at: datetime) -> Checkpoint:
    """The head of the tree, whose edge has the leaves of `segments` already."""
    ends = {**state.chains, **{s.chain_id: (s.last_seq, s.last_hash) for s in segments}}
    return Checkpoint(state.origin, state.edge.size, state.edge.root(), signed_at, chains_digest(ends))


def columns(tiles: Mapping[Tile, bytes]) -> tuple[list[int], list[int], list[bytes]]:
    """Levels, numbers and hashes, as the statement takes them."""
    return [t.level for t in tiles], [t.number for t in tiles], list(tiles.values())
