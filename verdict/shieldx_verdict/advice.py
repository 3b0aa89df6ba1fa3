"""Recommendations: sentences that come out of the numbers and name them."""

from math import ceil
from typing import Final

from shieldx_verdict.counts import Counts, Groups
from shieldx_verdict.result import Estimate, GateOutcome, Measured, Recommendation

MAX_NAMED: Final = 3
LARGE_SHARE: Final = 0.5
_TRIALS: Final = {
    "minPrecision": "samples that match",
    "minRecall": "attacks",
    "minF1": "samples that are attacks or match",
    "maxFalsePositiveRate": "benign samples",
}


def recommendations(
    counts: Counts,
    measured: Measured,
    outcomes: tuple[GateOutcome, ...],
    at_prevalence: Estimate | None,
    prevalence: float | None,
) -> tuple[Recommendation, ...]:
    """What the numbers suggest, most telling first; empty where they suggest nothing."""
    found = [
        *_missed(counts),
        *_noisy(counts),
        *_threshold(counts, measured),
        *(_more_samples(counts, gate) for gate in outcomes if gate.outcome == "open"),
        *_rare(measured, at_prevalence, prevalence),
        *_zero_is_not_none(measured),
    ]
    return tuple(recommendation for recommendation in found if recommendation is not None)


def _missed(counts: Counts) -> list[Recommendation]:
    """The attack types of which most is missed, by how many."""
    types = [(unmatched, matched, name) for name, (matched, unmatched) in counts.attack_types.items() if unmatched]
    types.sort(key=lambda entry: (-entry[0], entry[2]))
    missed = counts.matrix.fn
    return [
        Recommendation(
            "missed_attacks",
            f"{name}: {unmatched:,} of {unmatched + matched:,} attacks are missed ({unmatched / missed:.0%} of all "
            f"{missed:,} that are missed)" + ("; no part of this rule sees that type" if matched == 0 else ""),
        )
        for unmatched, matched, name in types[:MAX_NAMED]
    ]


def _noisy(counts: Counts) -> list[Recommendation]:
    """The benign group that makes most of the false positives."""
    groups: Groups = counts.benign_groups
    noisy = [(matched, unmatched, name) for name, (matched, unmatched) in groups.items() if matched]
    if not noisy or len(groups) == 1:
        return []
    matched, unmatched, name = min(noisy, key=lambda entry: (-entry[0], entry[2]))
    share = matched / counts.matrix.fp
    if share < LARGE_SHARE:
        return []
    return [
        Recommendation(
            "noisy_group",
            f"{name}: {matched:,} of {matched + unmatched:,} benign samples of this group match, {share:.0%} of all "
            f"{counts.matrix.fp:,} false positives; an exception for it would help most",
        )
    ]


def _threshold(counts: Counts, measured: Measured) -> list[Recommendation]:
    """The threshold of a scored rule that gives the best F1 on these samples."""
    if not counts.scores or measured.f1.value is None:
        return []
    attacks, benign = counts.matrix.attacks, counts.matrix.benign
    tp, fp = attacks, benign
    best = (measured.f1.value, 0.0, 0, 0)
    for edge in sorted(counts.scores):
        f1 = 2 * tp / (tp + fp + attacks)
        if f1 > best[0]:
            best = (f1, edge, tp, fp)
        of_attacks, of_benign = counts.scores[edge]
        tp, fp = tp - of_attacks, fp - of_benign
    f1, edge, tp, fp = best
    if f1 <= measured.f1.value:
        return []
    return [
        Recommendation(
            "threshold",
            f"threshold {edge:g} would give F1 {f1:.4f} here instead of {measured.f1.value:.4f} ({tp:,} of {attacks:,} "
            f"attacks, {fp:,} false positives); it was found on these samples, so confirm it on others",
        )
    ]


def _more_samples(counts: Counts, gate: GateOutcome) -> Recommendation | None:
    """How many samples would settle a gate, if the estimate stayed what it is."""
    matrix, estimate = counts.matrix, gate.estimate
    trials = {
        "minPrecision": matrix.tp + matrix.fp,
        "minRecall": matrix.attacks,
        "minF1": matrix.tp + matrix.fp + matrix.fn,
        "maxFalsePositiveRate": matrix.benign,
    }[gate.name]
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return Recommendation("more_samples", f"{gate.name} cannot be told without {_TRIALS[gate.name]}: add some")
    if estimate.value == gate.wanted:
        return Recommendation(
            "at_the_gate", f"{gate.name} is exactly at {gate.wanted:g}: no number of samples settles it"
        )
    # the half width of an interval falls with the root of the trials
    half = (estimate.high - estimate.low) / 2
    needed = ceil(trials * (half / abs(estimate.value - gate.wanted)) ** 2)
    return Recommendation(
        "more_samples",
        f"{gate.name}: about {max(needed, trials + 1):,} {_TRIALS[gate.name]} instead of {trials:,} would settle it, "
        f"if the estimate stays {estimate.value:.4f}",
    )


def _rare(measured: Measured, at_prevalence: Estimate | None, prevalence: float | None) -> list[Recommendation]:
    """That precision falls where attacks are rare, where it falls by more than half."""
    if at_prevalence is None or at_prevalence.value is None or not measured.precision.value:
        return []
    if at_prevalence.value > measured.precision.value * LARGE_SHARE:
        return []
    return [
        Recommendation(
            "rare_attacks",
            f"where {prevalence:.4%} of the traffic is attacks, precision would be {at_prevalence.value:.4f} instead "
            f"of {measured.precision.value:.4f}: most of what matches would be benign",
        )
    ]


def _zero_is_not_none(measured: Measured) -> list[Recommendation]:
    """What no false positive at all still allows."""
    rate = measured.false_positive_rate
    if measured.matrix.fp or not measured.matrix.benign or rate.high is None:
        return []
    return [
        Recommendation(
            "zero_false_positives",
            f"no false positive in {measured.matrix.benign:,} benign samples still allows a rate of {rate.high:.4%}",
        )
    ]
