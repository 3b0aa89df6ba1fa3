"""The tree beside the RFC's own definitions, which are recursive, slow and obviously right."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldx_runtime.core.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Frontier,
    ProofError,
    Range,
    Tile,
    TileEdge,
    complete_subtrees,
    consistency_ranges,
    edge_tiles,
    inclusion_ranges,
    leaf_hash,
    root_of,
    roots,
    split,
    tiles_of,
    verify_consistency,
    verify_inclusion,
)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word, over hashes of leaves."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01" + mth(leaves[:k]) + mth(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], known=known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], known=False), mth(leaves[:k])]


def made_leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(n).encode()) for n in range(count)]


LEAVES = made_leaves(70_000)


def stored(size: int, batch: int) -> dict[Tile, bytes]:
    """The tiles that a sealer would have stored, reloading its edge before each batch."""
    tiles: dict[Tile, bytes] = {}
    for start in range(0, size, batch):
        edges = {tile.level: tiles.get(tile, b"") for tile, width in edge_tiles(start) if width}
        edge = TileEdge(start, edges)
        edge.extend(LEAVES[start : min(size, start + batch)])
        tiles |= edge.take_changed()
    return tiles


# The inputs and roots that Certificate Transparency publishes with its implementations of RFC 6962.
VECTOR_INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots_come_out(size: int) -> None:
    leaves = [leaf_hash(entry) for entry in VECTOR_INPUTS[:size]]
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    edge = TileEdge()
    edge.extend(leaves)
    assert frontier.root().hex() == edge.root().hex() == root_of(leaves).hex() == VECTOR_ROOTS[size]
    assert mth(leaves).hex() == VECTOR_ROOTS[size]


def test_the_proofs_of_the_rfcs_example_are_the_nodes_that_it_names() -> None:
    """RFC 6962, section 2.1.3: seven leaves, nodes a to l as in its picture."""
    leaves = made_leaves(7)
    a, b, c, d, e, f, j = leaves

    def pair(left: bytes, right: bytes) -> bytes:
        return sha(b"\x01" + left + right)

    g, h, i = pair(a, b), pair(c, d), pair(e, f)
    k, last = pair(g, h), pair(i, j)
    tiles = {Tile(0, 0): b"".join(leaves)}
    assert roots(inclusion_ranges(0, 7), tiles) == [b, h, last]
    assert roots(inclusion_ranges(3, 7), tiles) == [c, g, last]
    assert roots(inclusion_ranges(4, 7), tiles) == [f, j, k]
    assert roots(inclusion_ranges(6, 7), tiles) == [i, k]
    assert roots(consistency_ranges(3, 7), tiles) == [c, d, g, last]
    assert roots(consistency_ranges(4, 7), tiles) == [last]
    assert roots(consistency_ranges(6, 7), tiles) == [i, j, k]


def test_every_proof_of_every_small_tree_is_the_rfcs_and_verifies() -> None:
    for size in range(1, 34):
        tiles, root = stored(size, size), mth(LEAVES[:size])
        for index in range(size):
            proof = roots(inclusion_ranges(index, size), tiles)
            assert proof == path(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, proof, root)
        for old in range(1, size + 1):
            proof = roots(consistency_ranges(old, size), tiles)
            assert proof == subproof(old, LEAVES[:size], known=True)
            verify_consistency(old, mth(LEAVES[:old]), size, root, proof)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, len(LEAVES)), batch=st.integers(200, 40_000), data=st.data())
def test_proofs_out_of_stored_tiles_verify_in_large_trees(size: int, batch: int, data: st.DataObject) -> None:
    tiles, root = stored(size, batch), mth(LEAVES[:size])
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    proof = roots(inclusion_ranges(index, size), tiles)
    verify_inclusion(LEAVES[index], index, size, proof, root)
    verify_consistency(old, mth(LEAVES[:old]), size, root, roots(consistency_ranges(old, size), tiles))
    assert len(proof) <= size.bit_length()
    assert len(tiles_of(inclusion_ranges(index, size))) <= 2 * 3


@settings(max_examples=30, deadline=None)
@given(old=st.integers(1, 3000), more=st.integers(0, 3000), data=st.data())
def test_tiles_that_have_grown_prove_what_was_true_before(old: int, more: int, data: st.DataObject) -> None:
    tiles = stored(old + more, 700)
    index = data.draw(st.integers(0, old - 1))
    verify_inclusion(LEAVES[index], index, old, roots(inclusion_ranges(index, old), tiles), mth(LEAVES[:old]))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 3000), cut=st.integers(0, 3000))
def test_a_frontier_may_be_put_away_and_taken_up_again(size: int, cut: int) -> None:
    cut = min(cut, size)
    first = Frontier()
    for leaf in LEAVES[:cut]:
        first.append(leaf)
    second = Frontier(first.size, first.hashes)
    for leaf in LEAVES[cut:size]:
        second.append(leaf)
    assert second.root() == mth(LEAVES[:size])
    assert len(second.hashes) == size.bit_count()


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.integers(0, 600), max_size=8))
def test_the_edge_gives_the_same_tiles_in_whatever_batches_leaves_come(batches: list[int]) -> None:
    size, edge = 0, TileEdge()
    tiles: dict[Tile, bytes] = {}
    for count in batches:
        edge.extend(LEAVES[size : size + count])
        size += count
        tiles |= edge.take_changed()
        assert edge.root() == mth(LEAVES[:size])
    assert tiles == (stored(size, size) if size else {})
    assert all(0 < len(content) <= TILE_WIDTH * HASH_BYTES for content in tiles.values())


@settings(max_examples=100, deadline=None)
@given(size=st.integers(2, 400), data=st.data())
def test_one_changed_bit_anywhere_is_refused(size: int, data: st.DataObject) -> None:
    tiles, root = stored(size, size), mth(LEAVES[:size])
    index = data.draw(st.integers(0, size - 1))
    proof = roots(inclusion_ranges(index, size), tiles)
    flat = bytearray(LEAVES[index] + root + b"".join(proof))
    place = data.draw(st.integers(0, len(flat) * 8 - 1))
    flat[place // 8] ^= 1 << (place % 8)
    leaf, wrong_root, *wrong_proof = split(bytes(flat))
    with pytest.raises(ProofError):
        verify_inclusion(leaf, index, size, wrong_proof, wrong_root)

    old = data.draw(st.integers(1, size - 1))
    chain = roots(consistency_ranges(old, size), tiles)
    flat = bytearray(mth(LEAVES[:old]) + root + b"".join(chain))
    place = data.draw(st.integers(0, len(flat) * 8 - 1))
    flat[place // 8] ^= 1 << (place % 8)
    old_root, wrong_root, *wrong_proof = split(bytes(flat))
    with pytest.raises(ProofError):
        verify_consistency(old, old_root, size, wrong_root, wrong_proof)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(2, 200), data=st.data())
def test_another_place_or_another_length_is_refused(size: int, data: st.DataObject) -> None:
    tiles, root = stored(size, size), mth(LEAVES[:size])
    index = data.draw(st.integers(0, size - 1))
    proof = roots(inclusion_ranges(index, size), tiles)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
    for wrong in ((other, size, proof), (index, size, proof[:-1]), (index, size, [*proof, root]), (size, size, proof)):
        with pytest.raises(ProofError):
            verify_inclusion(LEAVES[index], wrong[0], wrong[1], wrong[2], root)
    old = data.draw(st.integers(1, size - 1))
    chain = roots(consistency_ranges(old, size), tiles)
    for wrong_chain in (chain[:-1], [*chain, root]):
        with pytest.raises(ProofError):
            verify_consistency(old, mth(LEAVES[:old]), size, root, wrong_chain)


def test_equal_sizes_need_equal_roots_and_no_proof() -> None:
    root = mth(LEAVES[:5])
    verify_consistency(5, root, 5, root, [])
    for old_root, proof in ((mth(LEAVES[:4]), []), (root, [root])):
        with pytest.raises(ProofError, match="one root and an empty proof"):
            verify_consistency(5, old_root, 5, root, proof)


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5)])
def test_sizes_that_cannot_be_are_refused(old: int, new: int) -> None:
    with pytest.raises(ProofError):
        consistency_ranges(old, new)
    with pytest.raises(ProofError):
        verify_consistency(old, EMPTY_ROOT, new, EMPTY_ROOT, [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_leaves_that_are_not_there_are_refused(index: int, size: int) -> None:
    with pytest.raises(ProofError):
        inclusion_ranges(index, size)


def test_a_missing_or_short_tile_is_named() -> None:
    tiles = stored(600, 600)
    for wrong in ({}, {**tiles, Tile(0, 2): tiles[Tile(0, 2)][:-HASH_BYTES]}):
        with pytest.raises(ProofError, match="tile 2 of level 0 is missing or too short"):
            roots([Range(512, 600)], wrong)


@pytest.mark.parametrize(("size", "hashes"), [(3, 1), (4, 2), (-1, 0)])
def test_a_frontier_of_the_wrong_shape_is_refused(size: int, hashes: int) -> None:
    with pytest.raises(ValueError, match="a frontier of"):
        Frontier(size, [bytes(HASH_BYTES)] * hashes)


def test_an_edge_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="tile 1 of level 0 has 0 bytes, a tree of 257 leaves has 32 there"):
        TileEdge(257, {1: bytes(HASH_BYTES)})


def test_complete_subtrees_cover_a_range_without_gap() -> None:
    for size in range(1, 70):
        covered = 0
        for height, number in complete_subtrees(Range(0, size)):
            assert number << height == covered
            covered += 1 << height
        assert covered == size
