"""A round of sealing: what is taken, what is left for the next, and what is never signed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldx_runtime.core.merkle import Frontier, TileEdge, leaf_hash, split
from shieldx_runtime.credits.export_format import chain_hash, chains_digest
from shieldx_runtime.credits.sealing_plan import Selection, TreeState, UnsealedLink, checkpoint, columns, select


def chain(chain_id: int, counts: list[int], *, after: tuple[int, bytes] = (0, bytes(32))) -> list[UnsealedLink]:
    links, (seq, before) = [], after
    for number, count in enumerate(counts, seq + 1):
        leaves = b"".join(leaf_hash(f"{chain_id} {number} {n}".encode()) for n in range(count))
        before = chain_hash(before, leaves)
        links.append(UnsealedLink(chain_id, number, leaves, before))
    return links


def taken(links: list[UnsealedLink], **more: int) -> Selection:
    return select(links, {}, first_index=more.get("first_index", 0), max_leaves=more.get("max_leaves", 10_000))


def test_each_chain_is_one_segment_of_the_tree() -> None:
    selection = taken(chain(1, [2, 3]) + chain(4, [1]), first_index=100)
    found = [(s.first_index, s.leaves, s.chain_id, s.first_seq, s.last_seq) for s in selection.segments]
    assert found == [(100, 5, 1, 1, 2), (105, 1, 4, 1, 1)]
    assert selection.leaves == split(b"".join(link.leaves for link in chain(1, [2, 3]) + chain(4, [1])))
    assert selection.segments[0].last_hash == chain(1, [2, 3])[-1].hash
    assert not selection.problems
    assert not selection.cut_off


def test_a_chain_goes_on_where_the_tree_has_left_it() -> None:
    known = chain(1, [2, 3])
    end = (2, known[-1].hash)
    selection = select(chain(1, [4], after=end), {1: end}, first_index=5, max_leaves=100)
    assert [(s.first_seq, s.last_seq) for s in selection.segments] == [(3, 3)]


def test_a_round_has_a_bound_and_says_that_more_is_left() -> None:
    selection = taken(chain(1, [3, 3, 3]) + chain(2, [1]), max_leaves=7)
    assert selection.cut_off
    assert [(s.chain_id, s.first_seq, s.last_seq) for s in selection.segments] == [(1, 1, 2)]
    assert len(selection.leaves) == 6


def test_a_link_larger_than_a_round_is_a_round_of_its_own() -> None:
    selection = taken(chain(1, [9, 1]), max_leaves=5)
    assert len(selection.leaves) == 9
    assert selection.cut_off


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_changed_link_is_never_sealed_and_stops_its_chain_alone(place: int) -> None:
    links = chain(1, [1, 1, 1])
    bad = links[place]
    links[place] = UnsealedLink(bad.chain_id, bad.seq, leaf_hash(b"forged"), bad.hash)
    selection = taken(links + chain(2, [2]))
    assert [(s.chain_id, s.last_seq) for s in selection.segments if s.chain_id == 1] == ([(1, place)] if place else [])
    assert [(s.chain_id, s.leaves) for s in selection.segments if s.chain_id == 2] == [(2, 2)]
    assert selection.problems == [f"audit chain 1: the hash of link {place + 1} does not follow from its leaves"]


def test_a_missing_link_is_named() -> None:
    links = chain(1, [1, 1, 1])
    assert taken([links[0], links[2]]).problems == ["audit chain 1: link 2 is missing, link 3 follows"]


@pytest.mark.parametrize("leaves", [b"", b"x" * 31])
def test_leaves_that_are_none_are_named(leaves: bytes) -> None:
    link = UnsealedLink(1, 1, leaves, chain_hash(bytes(32), leaves))
    assert taken([link]).problems == [f"audit chain 1: link 1 has {len(leaves)} bytes of leaves"]


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=4),
    max_leaves=st.integers(1, 90),
)
def test_rounds_one_after_the_other_seal_every_link_once(counts: list[list[int]], max_leaves: int) -> None:
    chains = {n: chain(n, lengths) for n, lengths in enumerate(counts, 1)}
    state = TreeState("shieldx.io/credits/x", TileEdge())
    tree = Frontier()
    while True:
        rest = [link for n, links in chains.items() for link in links[state.chains.get(n, (0, b""))[0] :]]
        selection = select(rest, state.chains, first_index=state.size, max_leaves=max_leaves)
        assert not selection.problems
        if not selection.leaves:
            break
        state.edge.extend(selection.leaves)
        for leaf in selection.leaves:
            tree.append(leaf)
        head = checkpoint(state, selection.segments, datetime(2030, 1, 1, tzinfo=UTC))
        state.chains |= {s.chain_id: (s.last_seq, s.last_hash) for s in selection.segments}
        assert (head.size, head.root) == (tree.size, tree.root())
        assert head.chains == chains_digest(state.chains)
    assert tree.size == sum(map(sum, counts))
    assert state.chains == {n: (len(links), links[-1].hash) for n, links in chains.items() if links}


def test_tiles_become_columns() -> None:
    edge = TileEdge()
    edge.extend([leaf_hash(b"x")] * 257)
    levels, numbers, hashes = columns(edge.take_changed())
    assert sorted(zip(levels, numbers, map(len, hashes), strict=True)) == [(0, 0, 8192), (0, 1, 32), (1, 0, 32)]
