"""Counts add up the same in every order and survive the way through JSON."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shieldx_verdict import Counts, CountsError, Matrix, Pairs
from shieldx_verdict.counts import MAX_GROUPS, OTHERS, bounded, total

number = st.integers(min_value=0, max_value=2**40)
pair = st.tuples(number, number)
names = st.integers(min_value=0, max_value=150).map(lambda place: f"type-{place:03}")
# few bins, as the same rule gives them in every part
edges = st.sampled_from([0.0, 0.5, 1.0])
parts = st.builds(
    Counts,
    matrix=st.builds(Matrix, number, number, number, number),
    errors=st.dictionaries(st.sampled_from(["label", "encoding"]), number),
    attack_types=st.dictionaries(names, pair, max_size=MAX_GROUPS).map(bounded),
    benign_groups=st.dictionaries(names, pair, max_size=90).map(bounded),
    live=st.builds(Matrix, number, number, number, number),
    pairs=st.builds(Pairs, number, number, number, number),
    scores=st.dictionaries(edges, pair),
)


@given(parts, parts, parts)
@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine their making takes more than a second
def test_parts_add_up_the_same_in_every_order(one: Counts, two: Counts, three: Counts) -> None:
    assert (one + two) + three == one + (two + three) == total([three, one, two])


@given(st.lists(st.tuples(names, st.booleans()), max_size=300), st.integers(1, 7))
def test_groups_are_bounded_the_same_at_every_number_of_shards(samples: list[tuple[str, bool]], shards: int) -> None:
    def counted(chosen: list[tuple[str, bool]]) -> Counts:
        groups: dict[str, tuple[int, int]] = {}
        for name, matched in chosen:
            hits, misses = groups.get(name, (0, 0))
            groups[name] = (hits + matched, misses + (not matched))
        return Counts(attack_types=bounded(groups))

    assert total(counted(samples[place::shards]) for place in range(shards)) == counted(samples) or not samples


@given(parts)
def test_counts_come_back_out_of_json(counts: Counts) -> None:
    assert Counts.from_dict(json.loads(json.dumps(counts.to_dict()))) == counts


def test_more_names_than_kept_are_one_group() -> None:
    kept = bounded({f"n{place:03}": (1, 2) for place in range(MAX_GROUPS + 10)})
    assert len(kept) == MAX_GROUPS + 1
    assert kept[OTHERS] == (10, 20)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"matrix": None}, "matrix is missing"),
        ({"matrix": {"tp": 1}}, "matrix has tp"),
        ({"matrix": {"tp": -1, "fp": 0, "tn": 0, "fn": 0}}, r"matrix\.tp is -1"),
        ({"matrix": {"tp": True, "fp": 0, "tn": 0, "fn": 0}}, r"matrix\.tp is True"),
        ({"matrix": {"tp": float("nan"), "fp": 0, "tn": 0, "fn": 0}}, r"matrix\.tp is nan"),
        ({"errors": {"label": 1.5}}, r"errors\.label is 1\.5"),
        ({"attackTypes": {"sqli": [1]}}, r"attackTypes\.sqli must be a list of two"),
        ({"attackTypes": {str(n): [1, 1] for n in range(MAX_GROUPS + 2)}}, "attackTypes must be an object of at most"),
        ({"scores": [[1, 2]]}, r"scores\[0\] must be"),
    ],
)
def test_a_wrong_document_is_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(CountsError, match=named):
        Counts.from_dict({**Counts().to_dict(), **change})
