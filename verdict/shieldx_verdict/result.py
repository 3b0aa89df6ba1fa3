"""What a judgement says, as plain records that turn into JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from shieldx_verdict.counts import Matrix, Pairs

Verdict = Literal["PROMOTE", "REJECT", "INCONCLUSIVE"]
Outcome = Literal["passed", "failed", "open"]

MAX_ERROR_SHARE: Final = 0.01
"""Above this share of samples that could not be judged, nothing is concluded."""

GATE_FIELDS: Final = ("minPrecision", "minRecall", "minF1", "maxFalsePositiveRate")


class GatesError(ValueError):
    """A gate is no share; the message names it."""


@dataclass(frozen=True, slots=True)
class Gates:
    """What a rule must reach. Each is held against a bound of a 95% interval, never against the estimate."""

    min_precision: float | None = None
    min_recall: float | None = None
    min_f1: float | None = None
    max_false_positive_rate: float | None = None

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Gates":
        """Reads the fields `minPrecision`, `minRecall`, `minF1` and `maxFalsePositiveRate`.

        Raises:
            GatesError: a field is none of them, or its value is not from 0 to 1.
        """
        for name, value in document.items():
            if name not in GATE_FIELDS:
                raise GatesError(f"gates.{name} is no gate; there are {', '.join(GATE_FIELDS)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise GatesError(f"gates.{name} is {value!r}; it must be from 0 to 1")
        chosen = [None if document.get(name) is None else float(document[name]) for name in GATE_FIELDS]
        return cls(*chosen)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio with its 95% interval; all three are None where there was nothing to divide by."""

    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float]:
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one rule."""

    matrix: Matrix
    precision: Estimate
    recall: Estimate
    f1: Estimate
    false_positive_rate: Estimate
    mcc: float | None

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "matrix": {
                "truePositives": self.matrix.tp,
                "falsePositives": self.matrix.fp,
                "trueNegatives": self.matrix.tn,
                "falseNegatives": self.matrix.fn,
            },
            "precision": self.precision.to_dict(),
            "recall": self.recall.to_dict(),
            "f1": self.f1.to_dict(),
            "falsePositiveRate": self.false_positive_rate.to_dict(),
        }
        return document if self.mcc is None else {**document, "mcc": self.mcc}


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """One gate: what it wanted, which bound was held against it, and how that came out."""

    name: str
    wanted: float
    estimate: Estimate
    outcome: Outcome

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "wanted": self.wanted, "outcome": self.outcome}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against live rule on the same samples, by McNemar's exact test."""

    live: Measured
    pairs: Pairs
    p_value: float
    better: Literal["candidate", "live", "neither"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "live": self.live.to_dict(),
            "bothRight": self.pairs.both_right,
            "onlyCandidate": self.pairs.only_candidate,
            "onlyLive": self.pairs.only_live,
            "bothWrong": self.pairs.both_wrong,
            "pValue": self.p_value,
            "better": self.better,
        }


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One thing that the numbers suggest: a word for programs and a sentence, with those numbers, for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """The whole judgement."""

    measured: Measured
    samples: int
    errors: Mapping[str, int]
    verdict: Verdict
    reasons: tuple[str, ...]
    gates: tuple[GateOutcome, ...]
    precision_at_prevalence: Estimate | None
    prevalence: float | None
    comparison: Comparison | None
    recommendations: tuple[Recommendation, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `status.result` of a ShadowEvaluation has it; an undefined ratio has no value."""
        document: dict[str, Any] = {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "samples": self.samples,
            "errors": sum(self.errors.values()),
            "errorsByReason": dict(sorted(self.errors.items())),
            **self.measured.to_dict(),
            "gates": [gate.to_dict() for gate in self.gates],
            "recommendations": [recommendation.text for recommendation in self.recommendations],
        }
        if self.precision_at_prevalence is not None:
            document["prevalence"] = self.prevalence
            document["precisionAtPrevalence"] = self.precision_at_prevalence.to_dict()
        if self.comparison is not None:
            document["comparison"] = self.comparison.to_dict()
        return document
