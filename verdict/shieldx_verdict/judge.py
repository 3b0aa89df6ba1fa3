"""From counts to a verdict."""

from typing import Final

from shieldx_verdict import intervals
from shieldx_verdict.advice import recommendations
from shieldx_verdict.counts import Counts, Matrix
from shieldx_verdict.result import (
    MAX_ERROR_SHARE,
    Comparison,
    Estimate,
    GateOutcome,
    Gates,
    Measured,
    Outcome,
    Result,
    Verdict,
)

SIGNIFICANCE: Final = 0.05


def judge(counts: Counts, gates: Gates, prevalence: float | None = None) -> Result:
    """What `counts` say of a rule that must pass `gates`.

    PROMOTE: every gate is passed by the bound that speaks against the rule, and no live rule is surely better. Each
    bound is one side of a 95% interval, so that a rule which misses a gate is promoted in at most 2.5% of cases.
    REJECT: a gate is surely missed, or the live rule is surely better. INCONCLUSIVE: neither is sure, no gate was set,
    or too many samples could not be judged. `prevalence` is the share of attacks in real traffic, above 0 and below 1.
    """
    measured = measure(counts.matrix)
    outcomes = tuple(_gate_outcomes(measured, gates))
    comparison = _compare(counts)
    verdict, reasons = _verdict(counts, outcomes, comparison)
    at_prevalence = None if prevalence is None else _restated(measured, prevalence)
    return Result(
        measured=measured,
        samples=counts.matrix.total,
        errors=dict(counts.errors),
        verdict=verdict,
        reasons=reasons,
        gates=outcomes,
        precision_at_prevalence=at_prevalence,
        prevalence=prevalence,
        comparison=comparison,
        recommendations=recommendations(counts, measured, outcomes, at_prevalence, prevalence),
    )


def measure(matrix: Matrix) -> Measured:
    """The ratios of a confusion matrix with their intervals."""
    tp, fp, tn, fn = matrix.tp, matrix.fp, matrix.tn, matrix.fn
    f1_value = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None
    return Measured(
        matrix=matrix,
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=_estimate(f1_value, intervals.f1(tp, fp, fn)),
        false_positive_rate=_ratio(fp, fp + tn),
        mcc=intervals.mcc(tp, fp, tn, fn),
    )


def _ratio(hits: int, trials: int) -> Estimate:
    return _estimate(hits / trials if trials else None, intervals.wilson(hits, trials))


def _estimate(value: float | None, bounds: intervals.Interval | None) -> Estimate:
    low, high = bounds or (None, None)
    return Estimate(value, low, high)


def _gate_outcomes(measured: Measured, gates: Gates) -> list[GateOutcome]:
    at_least = (
        ("minPrecision", gates.min_precision, measured.precision),
        ("minRecall", gates.min_recall, measured.recall),
        ("minF1", gates.min_f1, measured.f1),
    )
    found = [
        GateOutcome(name, wanted, estimate, _outcome(estimate.low, estimate.high, wanted))
        for name, wanted, estimate in at_least
        if wanted is not None
    ]
    wanted = gates.max_false_positive_rate
    if wanted is not None:
        rate = measured.false_positive_rate
        mirrored = [None if bound is None else 1 - bound for bound in (rate.high, rate.low)]
        found.append(GateOutcome("maxFalsePositiveRate", wanted, rate, _outcome(mirrored[0], mirrored[1], 1 - wanted)))
    return found


def _outcome(low: float | None, high: float | None, wanted: float) -> Outcome:
    if low is None or high is None:
        return "open"
    if low >= wanted:
        return "passed"
    return "failed" if high < wanted else "open"


def _compare(counts: Counts) -> Comparison | None:
    if counts.live is None or counts.pairs is None:
        return None
    pairs = counts.pairs
    p_value = intervals.mcnemar_exact(pairs.only_candidate, pairs.only_live)
    sure = p_value < SIGNIFICANCE
    ahead = pairs.only_candidate > pairs.only_live
    return Comparison(
        live=measure(counts.live),
        pairs=pairs,
        p_value=p_value,
        better=("candidate" if ahead else "live") if sure else "neither",
    )


def _verdict(
    counts: Counts, outcomes: tuple[GateOutcome, ...], comparison: Comparison | None
) -> tuple[Verdict, tuple[str, ...]]:
    seen = counts.matrix.total + counts.errors_total
    if counts.matrix.total == 0:
        return "INCONCLUSIVE", ("no sample could be judged",)
    if counts.errors_total > MAX_ERROR_SHARE * seen:
        share = counts.errors_total / seen
        told = f"{counts.errors_total:,} of {seen:,} samples ({share:.2%}) could not be judged"
        return "INCONCLUSIVE", (f"{told}; at most {MAX_ERROR_SHARE:.0%} may be",)
    against = [_told(gate) for gate in outcomes if gate.outcome == "failed"]
    if comparison is not None and comparison.better == "live":
        against.append(
            f"the live rule is better: it alone is right on {comparison.pairs.only_live:,} samples, this one alone on "
            f"{comparison.pairs.only_candidate:,} (p = {comparison.p_value:.2g})"
        )
    if against:
        return "REJECT", tuple(against)
    if not outcomes:
        return "INCONCLUSIVE", ("no gate is set: nothing says what is good enough",)
    undecided = [_told(gate) for gate in outcomes if gate.outcome == "open"]
    if undecided:
        return "INCONCLUSIVE", tuple(undecided)
    return "PROMOTE", tuple(_told(gate) for gate in outcomes)


def _told(gate: GateOutcome) -> str:
    estimate, wanted = gate.estimate, gate.wanted
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return f"{gate.name} {wanted:g}: undefined, there was no sample to divide by"
    interval = f"{estimate.value:.4f}, 95% interval {estimate.low:.4f} to {estimate.high:.4f}"
    verb = {"passed": "is passed", "failed": "is missed", "open": "is undecided"}[gate.outcome]
    return f"{gate.name} {wanted:g} {verb}: {interval}"


def _restated(measured: Measured, prevalence: float) -> Estimate:
    recall, rate = measured.recall, measured.false_positive_rate
    if recall.value is None or rate.value is None:
        return Estimate(None, None, None)
    low, high = intervals.precision_at(
        prevalence, (recall.low or 0.0, recall.high or 0.0), (rate.low or 0.0, rate.high or 0.0)
    )
    return Estimate(intervals.bayes(prevalence, recall.value, rate.value), low, high)
