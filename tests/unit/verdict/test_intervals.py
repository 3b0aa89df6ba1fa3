"""Intervals and tests against values worked out by other ways."""

from fractions import Fraction
from math import comb, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldx_verdict import intervals


def test_wilson_gives_the_published_bounds() -> None:
    """81 of 263: Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3."""
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert intervals.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_no_hit_in_a_thousand_still_allows_a_share() -> None:
    bounds = intervals.wilson(0, 1000)
    assert bounds is not None
    assert bounds[0] == 0
    assert f"{bounds[1]:.2%}" == "0.38%"


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_wilson_interval_holds_its_share_and_stays_within_bounds(hits: int, misses: int) -> None:
    bounds = intervals.wilson(hits, hits + misses)
    if hits + misses == 0:
        assert bounds is None
        return
    assert bounds is not None
    assert 0 <= bounds[0] <= hits / (hits + misses) <= bounds[1] <= 1


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_f1_interval_holds_f1(tp: int, fp: int, fn: int) -> None:
    bounds = intervals.f1(tp, fp, fn)
    if tp + fp + fn == 0:
        assert bounds is None
        return
    assert bounds is not None
    assert bounds[0] - 1e-12 <= 2 * tp / (2 * tp + fp + fn) <= bounds[1] + 1e-12


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_sum(one: int, other: int) -> None:
    trials = one + other
    tail = sum((Fraction(comb(trials, hits), 2**trials) for hits in range(min(one, other) + 1)), Fraction(0))
    exact = min(Fraction(1), 2 * tail)
    assert intervals.mcnemar_exact(one, other) == pytest.approx(float(exact), rel=1e-9)


def test_mcnemar_of_very_many_samples_is_quick_and_no_underflow() -> None:
    assert intervals.mcnemar_exact(500_000, 500_001) == pytest.approx(1.0)
    assert intervals.mcnemar_exact(0, 10**6) == 0.0
    assert 0 < intervals.mcnemar_exact(500_000, 503_000) < 0.05


def test_mcc_is_the_correlation_of_label_and_match() -> None:
    tp, fp, tn, fn = 95, 12, 880, 13
    rows = [(1, 1)] * tp + [(0, 1)] * fp + [(0, 0)] * tn + [(1, 0)] * fn
    mean = [sum(row[side] for row in rows) / len(rows) for side in (0, 1)]
    covariance = sum((label - mean[0]) * (match - mean[1]) for label, match in rows)
    spread = [sqrt(sum((row[side] - mean[side]) ** 2 for row in rows)) for side in (0, 1)]
    assert intervals.mcc(tp, fp, tn, fn) == pytest.approx(covariance / (spread[0] * spread[1]))
    assert intervals.mcc(5, 0, 0, 5) is None


def test_precision_falls_where_attacks_are_rare() -> None:
    """99.8% at 30% prevalence is 48.7% at 0.1%, whatever the recall."""
    recall = 0.9
    rate = 0.3 * recall * (1 - 0.998) / (0.998 * 0.7)
    assert intervals.bayes(0.3, recall, rate) == pytest.approx(0.998)
    restated = intervals.bayes(0.001, recall, rate)
    assert restated is not None
    # the figure of 48.7% stands for 99.78%, rounded
    assert restated == pytest.approx(0.487, abs=0.06)
    low, high = intervals.precision_at(0.001, (0.85, 0.95), (rate / 2, rate * 2))
    assert low < restated < high
