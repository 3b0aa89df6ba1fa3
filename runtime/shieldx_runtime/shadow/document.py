"""An evaluation as one JSON document: what was asked, what was counted, how it was judged, and what to read."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shieldx_runtime.shadow.evaluation import Evaluation
from shieldx_runtime.shadow.judging import Mistake
from shieldx_runtime.shadow.task import Task
from shieldx_verdict import Result


def document(task: Task, found: Evaluation, result: Result, *, seconds: float) -> dict[str, Any]:
    """Plain JSON. All but `seconds` is the same for the same question, wherever and however it is asked."""
    return {
        "rule": dict(task.rule),
        "baseline": None if task.baseline is None else dict(task.baseline),
        "sampleSize": task.sample_size,
        "seed": task.seed,
        "datasetDigest": f"sha256:{found.dataset_digest}",
        "engine": found.engine,
        "result": result.to_dict(),
        "counts": found.counts.to_dict(),
        "mistakes": {
            "falsePositives": _plain(found.false_positives),
            "falseNegatives": _plain(found.false_negatives),
        },
        "seconds": round(seconds, 3),
    }


def _plain(mistakes: Sequence[Mistake]) -> list[dict[str, Any]]:
    return [asdict(mistake) for mistake in mistakes]
