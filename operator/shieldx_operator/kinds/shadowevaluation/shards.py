"""The workers' entries in a status: which count, what they add up to, and whether they speak of the same samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shieldx_operator.engine.types import Obj
from shieldx_verdict import Counts, CountsError
from shieldx_verdict.counts import total as summed

_ALIKE: Final = ("datasetDigest", "engine")
"""What all shards of one question must say alike: one question is about one set of samples, judged by one engine."""


@dataclass(frozen=True, slots=True)
class Total:
    """The counts of all shards, when the last of them came, and what they were counted on and by."""

    counts: Counts
    finished_at: datetime
    dataset_digest: str | None
    engine: str | None


def of_question(entries: Sequence[Obj], question: str) -> list[Obj]:
    """The entries that answer `question`, in the order of their shards."""
    return sorted((e for e in entries if e.get("question") == question), key=lambda e: int(e["index"]))


def samples(entries: Sequence[Obj]) -> int:
    """How many samples stand in the matrices of `entries`; an entry that holds no counts has none."""
    return sum(_counts(e).matrix.total for e in entries if problem_of(e) is None)


def _counts(entry: Obj) -> Counts:
    return Counts.from_dict(entry.get("counts") or {})


def problem_of(entry: Obj) -> str | None:
    """What is wrong with an entry's counts, or None."""
    try:
        _counts(entry)
    except CountsError as error:
        return f"status.shards, index {entry['index']}: counts: {error}"
    return None


def problem(entries: Sequence[Obj], question: str) -> str | None:
    """Why the entries for `question` cannot be added up, or None."""
    mine = of_question(entries, question)
    for entry in mine:
        found = problem_of(entry)
        if found is not None:
            return found
    for name in _ALIKE:
        told = {str(e.get(name, "")): e["index"] for e in mine}
        if len(told) > 1:
            listed = ", ".join(f"shard {index} {value or '(nothing)'}" for value, index in sorted(told.items()))
            return f"the shards do not agree on {name} ({listed}): the samples or the image changed while they worked"
    return None


def total(entries: Sequence[Obj], question: str, wanted: int) -> Total | None:
    """The counts of all `wanted` shards of `question`; None while one is missing, or where they do not add up."""
    mine = [e for e in of_question(entries, question) if e["index"] < wanted]
    if len(mine) < wanted or problem(entries, question) is not None:
        return None
    return Total(
        counts=summed(_counts(e) for e in mine),
        finished_at=max(datetime.fromisoformat(e["finishedAt"]) for e in mine),
        dataset_digest=mine[0].get("datasetDigest"),
        engine=mine[0].get("engine"),
    )
