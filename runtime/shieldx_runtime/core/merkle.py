"""A Merkle tree over a log that only grows, hashed as RFC 6962 (section 2.1) says. Pure.

Three views of one tree. `Frontier` is what an appender must remember: one hash for each bit of the size that is set.
`TileEdge` also gives the tiles to store, from which every proof can be made later: a tile of level L holds up to 256
hashes of complete subtrees of 256**L leaves each. Ranges of leaves name the hashes of a proof, so that who makes one
knows which tiles to read before reading any.

All hashes are 32 bytes (SHA-256). Indices and sizes count leaves.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_SIZE: Final = 2**63 - 1
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

_sha256 = hashlib.sha256


class ProofError(Exception):
    """A proof does not prove what it is said to prove; the message says why."""


class Range(NamedTuple):
    """The leaves `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int


class Tile(NamedTuple):
    """The place of a tile: its level and its number in that level."""

    level: int
    number: int


Node: TypeAlias = tuple[int, int]
"""A complete subtree: its height (0: a leaf) and its number among those of that height."""


def leaf_hash(entry: bytes) -> bytes:
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over subtrees of one height, any number of them (MTH of RFC 6962)."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = [*paired, row[-1]] if len(row) % 2 else paired
    return row[0]


def fold(subtrees: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that shrink from left to right."""
    if not subtrees:
        return EMPTY_ROOT
    root = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        root = node_hash(left, root)
    return root


class Frontier:
    """The complete subtrees of which a tree consists, largest first. Appending costs O(log size), memory likewise."""

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Raises: ValueError, there is not one hash for each bit of `size`."""
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in hashes):
            raise ValueError(f"a frontier of {size} leaves has {size.bit_count()} hashes of {HASH_BYTES} bytes")
        self._size = size
        self._hashes = list(hashes)

    @property
    def size(self) -> int:
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Adds the hash of a leaf."""
        bits = self._size
        while bits & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            bits >>= 1
        self._hashes.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        return fold(self._hashes)


class TileEdge:
    """The unfinished tile of each level: appends leaves, and gives the tiles that have changed by it."""

    __slots__ = ("_edges", "_full", "_size")

    def __init__(self, size: int = 0, edges: Mapping[int, bytes] | None = None) -> None:
        """`edges` has the content of the unfinished tile of each level that has one.

        Raises:
            ValueError: a tile has not as many hashes as a tree of `size` leaves has there.
        """
        given = edges or {}
        self._size = size
        self._edges: list[list[bytes]] = []
        self._full: dict[Tile, bytes] = {}
        for tile, width in edge_tiles(size):
            content = given.get(tile.level, b"")
            if len(content) != width * HASH_BYTES:
                raise ValueError(
                    f"tile {tile.number} of level {tile.level} has {len(content)} bytes, "
                    f"a tree of {size} leaves has {width * HASH_BYTES} there"
                )
            self._edges.append(split(content))

    @property
    def size(self) -> int:
        return self._size

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Adds the hashes of leaves, in their order."""
        for leaf in leaves:
            self._add(0, leaf)
            self._size += 1

    def _add(self, level: int, subtree: bytes) -> None:
        if level == len(self._edges):
            self._edges.append([])
        edge = self._edges[level]
        edge.append(subtree)
        if len(edge) == TILE_WIDTH:
            self._full[Tile(level, self._size >> (TILE_HEIGHT * (level + 1)))] = b"".join(edge)
            root = root_of(edge)
            edge.clear()
            self._add(level + 1, root)

    def root(self) -> bytes:
        subtrees: list[bytes] = []
        for edge in reversed(self._edges):
            start = 0
            for height, _ in complete_subtrees(Range(0, len(edge))):
                subtrees.append(root_of(edge[start : start + (1 << height)]))
                start += 1 << height
        return fold(subtrees)

    def take_changed(self) -> dict[Tile, bytes]:
        """The tiles to store: those finished since this was last called, and the unfinished ones as they are now."""
        changed, self._full = self._full, {}
        for tile, _ in edge_tiles(self._size):
            if self._edges[tile.level]:
                changed[tile] = b"".join(self._edges[tile.level])
        return changed


def edge_tiles(size: int) -> list[tuple[Tile, int]]:
    """The last, unfinished tile of each level of a tree, and how many hashes it has: 0 to 255."""
    tiles: list[tuple[Tile, int]] = []
    level = 0
    while size:
        tiles.append((Tile(level, size >> TILE_HEIGHT), size & (TILE_WIDTH - 1)))
        size >>= TILE_HEIGHT
        level += 1
    return tiles


def split(content: bytes) -> list[bytes]:
    """The hashes in a tile, or in anything else that holds them one after the other."""
    return [content[i : i + HASH_BYTES] for i in range(0, len(content), HASH_BYTES)]


def complete_subtrees(leaves: Range) -> list[Node]:
    """The complete subtrees of a range from left to right. `leaves.start` is a multiple of each one's size."""
    nodes: list[Node] = []
    start, end = leaves
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        nodes.append((height, start >> height))
        start += 1 << height
    return nodes


def _left_size(size: int) -> int:
    """Leaves in the left part of a tree of two or more: the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The parts of the tree whose roots prove that leaf `index` is in it, from the leaf upwards (PATH of RFC 6962).

    Raises:
        ProofError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old_size: int, new_size: int) -> list[Range]:
    """The parts whose roots prove that the tree of `old_size` is the beginning of that of `new_size` (PROOF).

    Raises:
        ProofError: the sizes are not 1 <= old_size <= new_size.
    """
    if not 1 <= old_size <= new_size:
        raise ProofError(f"a tree of {old_size} leaves cannot be proved to be the beginning of one of {new_size}")
    ranges: list[Range] = []
    start, end, known = 0, new_size, True
    while old_size < end:
        middle = start + _left_size(end - start)
        if old_size <= middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start, known = middle, False
    if not known:
        ranges.append(Range(start, end))
    return ranges[::-1]


def tiles_of(ranges: Iterable[Range]) -> set[Tile]:
    """The tiles that have what the roots of these ranges are made of."""
    nodes = (node for leaves in ranges for node in complete_subtrees(leaves))
    return {_place(node)[0] for node in nodes}


def _place(node: Node) -> tuple[Tile, slice]:
    """The tile that has a subtree, and which of its bytes the subtree is made of."""
    height, number = node
    level, above = divmod(height, TILE_HEIGHT)
    first = number << above
    begin = (first & (TILE_WIDTH - 1)) * HASH_BYTES
    return Tile(level, first >> TILE_HEIGHT), slice(begin, begin + (HASH_BYTES << above))


def roots(ranges: Iterable[Range], tiles: Mapping[Tile, bytes]) -> list[bytes]:
    """The root of each range: a proof.

    Raises:
        ProofError: a tile is missing or too short.
    """
    return [fold([_node(node, tiles) for node in complete_subtrees(leaves)]) for leaves in ranges]


def _node(node: Node, tiles: Mapping[Tile, bytes]) -> bytes:
    tile, part = _place(node)
    content = tiles.get(tile, b"")[part]
    if len(content) != part.stop - part.start:
        raise ProofError(f"tile {tile.number} of level {tile.level} is missing or too short")
    return root_of(split(content))


def _follow(first: int, last: int, start: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Climbs from subtree `first` to the root, `last` being the last subtree of its height.

    Returns:
        What comes out for the part of the tree up to `first`, and for the whole tree.

    Raises:
        ProofError: the proof is shorter or longer than the way.
    """
    old = new = start
    for step in proof:
        if last == 0:
            raise ProofError("the proof is longer than the way to the root")
        if first & 1 or first == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            new = node_hash(new, step)
        first, last = first >> 1, last >> 1
    if last != 0:
        raise ProofError("the proof is shorter than the way to the root")
    return old, new


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf with hash `leaf` is leaf `index` of the tree (RFC 9162, section 2.1.3.2).

    Raises:
        ProofError: it is not proved.
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    if _follow(index, size - 1, leaf, proof)[1] != root:
        raise ProofError(f"leaf {index} does not lead to the root of the tree of {size}")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the old tree is the beginning of the new one (RFC 9162, section 2.1.4.2).

    Raises:
        ProofError: it is not proved.
    """
    if not 1 <= old_size <= new_size:
        raise ProofError(f"a tree of {old_size} leaves cannot be the beginning of one of {new_size}")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofError("trees of one size have one root and an empty proof")
        return
    steps = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not steps:
        raise ProofError("the proof is empty")
    first, last = old_size - 1, new_size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old, new = _follow(first, last, steps[0], steps[1:])
    if old != old_root:
        raise ProofError(f"the proof does not lead to the root of the old tree of {old_size}")
    if new != new_root:
        raise ProofError(f"the proof does not lead to the root of the new tree of {new_size}")
