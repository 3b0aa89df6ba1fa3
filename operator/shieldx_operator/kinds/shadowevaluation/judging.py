"""From the counts of all shards to `status.result`. The judgement is `shieldx_verdict`'s; the words are put here."""

from datetime import UTC
from typing import Any

from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.shadowevaluation.shards import Total
from shieldx_operator.kinds.shadowevaluation.view import View
from shieldx_verdict import Gates, judge


def result(v: View, found: Total, cached_from: str | None) -> Obj:
    """`status.result` for the gates of now."""
    judged = judge(found.counts, Gates.from_dict(v.effective.gates.to_json()), v.effective.prevalence)
    further = {
        "seed": v.effective.seed,
        "datasetDigest": found.dataset_digest,
        "engine": found.engine,
        "evaluatedAt": found.finished_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cachedFrom": cached_from,
    }
    return {**judged.to_dict(), **{name: value for name, value in further.items() if value is not None}}


def interval_text(estimate: Any) -> str:
    """An estimate with its interval, such as `0.884 (0.861-0.903)`, or `undefined`."""
    if "value" not in estimate or "low" not in estimate or "high" not in estimate:
        return "undefined"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f})"


def sentence(told: Obj) -> str:
    """The answer in one line."""
    return f"{told['verdict']}: F1 {interval_text(told['f1'])} on {told['samples']:,} samples"


def why(told: Obj) -> str:
    """The reasons of the verdict in one text."""
    return "; ".join(told["reasons"])
