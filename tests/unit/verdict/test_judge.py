"""Verdicts by the bounds of intervals, and sentences that name the numbers they come from."""

import pytest

from shieldx_verdict import Counts, Gates, Matrix, Pairs, judge
from shieldx_verdict.result import GatesError, Result


def codes(result: Result) -> set[str]:
    return {recommendation.code for recommendation in result.recommendations}


def test_the_figures_of_the_fixed_shape() -> None:
    """95, 12, 880 and 13 of the API's example."""
    measured = judge(Counts(Matrix(tp=95, fp=12, tn=880, fn=13)), Gates()).measured
    assert measured.precision.value == pytest.approx(0.888, abs=5e-4)
    assert measured.recall.value == pytest.approx(0.880, abs=5e-4)
    assert measured.f1.value == pytest.approx(0.884, abs=5e-4)


def test_a_gate_is_held_against_the_bound_and_not_the_estimate() -> None:
    gates = Gates(min_recall=0.9)
    few = judge(Counts(Matrix(tp=95, fn=5, tn=100)), gates)
    assert few.measured.recall.value == 0.95
    assert few.verdict == "INCONCLUSIVE"
    assert "minRecall 0.9 is undecided: 0.9500, 95% interval 0.8882 to 0.9785" in few.reasons[0]
    assert judge(Counts(Matrix(tp=9500, fn=500, tn=100)), gates).verdict == "PROMOTE"
    assert judge(Counts(Matrix(tp=8000, fn=2000, tn=100)), gates).verdict == "REJECT"


def test_every_gate_must_be_passed_and_one_surely_missed_is_enough_to_reject() -> None:
    counts = Counts(Matrix(tp=9900, fn=100, tn=9000, fp=1000))
    assert judge(counts, Gates(min_recall=0.9, max_false_positive_rate=0.2)).verdict == "PROMOTE"
    rejected = judge(counts, Gates(min_recall=0.9, max_false_positive_rate=0.05))
    assert rejected.verdict == "REJECT"
    assert [gate.outcome for gate in rejected.gates] == ["passed", "failed"]


def test_zero_false_positives_do_not_prove_a_zero_rate() -> None:
    result = judge(Counts(Matrix(tp=100, tn=1000)), Gates(max_false_positive_rate=0.001))
    assert result.verdict == "INCONCLUSIVE"
    assert "zero_false_positives" in codes(result)
    assert any("0.3827%" in recommendation.text for recommendation in result.recommendations)


def test_no_gate_no_promotion() -> None:
    assert judge(Counts(Matrix(tp=10**6, tn=10**6)), Gates()).verdict == "INCONCLUSIVE"


def test_no_sample_is_inconclusive_and_every_ratio_undefined() -> None:
    result = judge(Counts(), Gates(min_f1=0.5))
    assert result.verdict == "INCONCLUSIVE"
    assert result.measured.precision.to_dict() == result.measured.f1.to_dict() == {}
    assert "mcc" not in result.to_dict()


@pytest.mark.parametrize(("errors", "verdict"), [(100, "PROMOTE"), (102, "INCONCLUSIVE")])
def test_more_than_one_percent_of_errors_concludes_nothing(errors: int, verdict: str) -> None:
    counts = Counts(Matrix(tp=5000, tn=4900), errors={"label": errors})
    assert judge(counts, Gates(min_recall=0.9)).verdict == verdict


def test_a_live_rule_that_is_surely_better_rejects() -> None:
    counts = Counts(
        Matrix(tp=9500, fn=500, tn=10_000), live=Matrix(tp=9700, fn=300, tn=10_000), pairs=Pairs(19_400, 100, 300, 200)
    )
    result = judge(counts, Gates(min_recall=0.9))
    assert result.verdict == "REJECT"
    assert result.comparison is not None
    assert result.comparison.better == "live"
    assert "it alone is right on 300 samples, this one alone on 100" in result.reasons[0]


def test_rules_that_differ_by_chance_are_neither_better() -> None:
    counts = Counts(Matrix(tp=95, fn=5, tn=100), live=Matrix(tp=94, fn=6, tn=100), pairs=Pairs(190, 5, 4, 1))
    result = judge(counts, Gates())
    assert result.comparison is not None
    assert result.comparison.better == "neither"


def test_missed_types_noisy_groups_and_open_gates_are_named_with_their_numbers() -> None:
    counts = Counts(
        Matrix(tp=60, fn=40, tn=960, fp=40),
        attack_types={"sqli": (60, 10), "xss": (0, 30)},
        benign_groups={"search": (35, 100), "login": (5, 860)},
    )
    result = judge(counts, Gates(min_recall=0.65))
    texts = [recommendation.text for recommendation in result.recommendations]
    assert texts[0] == (
        "xss: 30 of 30 attacks are missed (75% of all 40 that are missed); no part of this rule sees that type"
    )
    assert any("search: 35 of 135 benign samples of this group match, 88% of all 40" in text for text in texts)
    assert any("minRecall: about" in text and "attacks instead of 100" in text for text in texts)


def test_a_better_threshold_is_found_and_told_to_be_confirmed() -> None:
    counts = Counts(Matrix(tp=50, fn=50, tn=100), scores={0.0: (0, 90), 1.0: (45, 10), 2.0: (55, 0)})
    result = judge(counts, Gates())
    assert "threshold" in codes(result)
    assert any("threshold 1 would give F1 0.9524" in recommendation.text for recommendation in result.recommendations)


def test_precision_is_restated_for_real_traffic() -> None:
    result = judge(Counts(Matrix(tp=900, fn=100, tn=9900, fp=100)), Gates(), prevalence=0.001)
    restated = result.precision_at_prevalence
    assert restated is not None
    assert restated.value == pytest.approx(0.0826, abs=1e-4)
    assert "rare_attacks" in codes(result)


@pytest.mark.parametrize("document", [{"minPrecision": 1.5}, {"minRecall": True}, {"minSpeed": 0.5}])
def test_a_wrong_gate_is_refused_by_name(document: dict[str, object]) -> None:
    with pytest.raises(GatesError, match=rf"gates\.{next(iter(document))}"):
        Gates.from_dict(document)
