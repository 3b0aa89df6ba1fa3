"""Intervals and tests for proportions, each with its source. All intervals are two-sided at 95%."""

from math import exp, lgamma, log, sqrt
from typing import Final

Interval = tuple[float, float]

Z_95: Final = 1.959963984540054
"""The 97.5% point of the standard normal distribution."""


def wilson(hits: int, trials: int, z: float = Z_95) -> Interval | None:
    """Score interval for a proportion; None without a trial.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Unlike the
    textbook's plus-minus, it keeps its coverage near 0 and 1 and stays within them.
    """
    if trials == 0:
        return None
    share = hits / trials
    centre = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if hits == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if hits == trials else min(1.0, (centre + spread) / scale)
    return low, high


def f1(tp: int, fp: int, fn: int) -> Interval | None:
    """Interval for F1 = 2 TP / (2 TP + FP + FN).

    F1 rises with the Jaccard index J = TP / (TP + FP + FN): F1 = 2 J / (1 + J). Given how many samples are attacks or
    match, TP is binomial with the share J, so that Wilson's bounds of J give, through the same function, those of F1.
    Where the number of attacks is fixed by stratified sampling this errs on the wide side.
    """
    bounds = wilson(tp, tp + fp + fn)
    if bounds is None:
        return None
    low, high = bounds
    return 2 * low / (1 + low), 2 * high / (1 + high)


def mcc(tp: int, fp: int, tn: int, fn: int) -> float | None:
    """Matthews' correlation coefficient, -1 to 1; None where a margin is empty.

    B. W. Matthews, "Comparison of the predicted and observed secondary structure of T4 phage lysozyme", BBA 405 (1975).
    """
    margins = (tp + fp, tp + fn, tn + fp, tn + fn)
    if 0 in margins:
        return None
    # the product of the margins may exceed what a float holds exactly: roots first
    scale = 1.0
    for margin in margins:
        scale *= sqrt(margin)
    return (tp * tn - fp * fn) / scale


def mcnemar_exact(only_candidate: int, only_live: int) -> float:
    """Two-sided p-value that two rules are wrong equally often, from the samples on which just one is right.

    The exact binomial form of Q. McNemar, "Note on the sampling error of the difference between correlated proportions
    or percentages", Psychometrika 12 (1947). 1.0 where the rules never differ.
    """
    trials = only_candidate + only_live
    fewer = min(only_candidate, only_live)
    if trials == 0 or only_candidate == only_live:
        return 1.0
    # terms C(n, i) / 2^n from the largest down; they fall at least as fast as a geometric series
    term = exp(lgamma(trials + 1) - lgamma(fewer + 1) - lgamma(trials - fewer + 1) - trials * log(2))
    tail = 0.0
    for hits in range(fewer, -1, -1):
        tail += term
        if term < tail * 1e-17:
            break
        term *= hits / (trials - hits + 1)
    return min(1.0, 2 * tail)


def precision_at(prevalence: float, recall: Interval, false_positive_rate: Interval) -> Interval:
    """Bounds of the precision where `prevalence` of all traffic is attacks, from those of both rates.

    Bayes' theorem at the corners: the lowest recall with the highest false positive rate, and the other way round. Both
    at once is rarer than each alone, so that this is the wide side of 95%.
    """
    return (
        _bayes(prevalence, recall[0], false_positive_rate[1]),
        _bayes(prevalence, recall[1], false_positive_rate[0]),
    )


def _bayes(prevalence: float, recall: float, false_positive_rate: float) -> float:
    matching = prevalence * recall + (1 - prevalence) * false_positive_rate
    return prevalence * recall / matching if matching > 0 else 0.0


def bayes(prevalence: float, recall: float, false_positive_rate: float) -> float | None:
    """The precision at a prevalence; None where nothing would match."""
    matching = prevalence * recall + (1 - prevalence) * false_positive_rate
    return prevalence * recall / matching if matching > 0 else None
