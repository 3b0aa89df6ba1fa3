"""The engine counts what a plain loop counts, bit for bit, however the work is cut."""

from pathlib import Path
from typing import Any

import pytest

from shieldx_runtime.shadow.draw import trains
from shieldx_runtime.shadow.evaluation import Evaluation, evaluate
from shieldx_runtime.shadow.task import Task
from shieldx_verdict.counts import total

from .oracle import matches, matrix

SEED = 5
SMALL_CHUNKS = 1 << 14
REGEX = {"type": "signature", "syntax": "regex", "pattern": r"(?i)union\s+(all\s+)?select|<script|\.\./"}
LITERAL = {"type": "signature", "pattern": "select"}
BLACKLIST = {"type": "ip_blacklist", "networks": ["203.0.0.0/24", "203.0.2.4/31", "2001:db8::/32"]}
RATE = {"type": "rate_limiting", "requests": 4, "windowSeconds": 60}
ANOMALY = {"type": "anomaly_detection", "threshold": 5.5}
LIBINJECTION = {"type": "libinjection", "injections": ["sqli", "xss"]}
RULES = [
    LITERAL,
    REGEX,
    BLACKLIST,
    RATE,
    ANOMALY,
    LIBINJECTION,
    {"type": "all_of", "rules": [LIBINJECTION, {"type": "not", "rule": LITERAL}]},
    {"type": "any_of", "rules": [REGEX, RATE, {"type": "all_of", "rules": [BLACKLIST, ANOMALY]}]},
]


def asked(ndjson: Path, rule: dict[str, Any], **how: Any) -> Evaluation:
    task = Task.from_dict({"rule": rule, "data": {"path": str(ndjson)}, "seed": SEED, **how})
    parts = [evaluate(task, shard, chunk_bytes=SMALL_CHUNKS) for shard in range(task.shards)]
    first = parts[0]
    return Evaluation(
        total(part.counts for part in parts),
        first.false_positives,
        first.false_negatives,
        first.dataset_digest,
        first.engine,
    )


def expected(rule: dict[str, Any], traffic: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    learns = "anomaly" in str(rule)
    train = {place for place in range(len(traffic)) if learns and trains(SEED, place + 1)}
    return matrix(rule, traffic, train)


def found(evaluation: Evaluation) -> tuple[int, int, int, int]:
    cells = evaluation.counts.matrix
    return cells.tp, cells.fp, cells.tn, cells.fn


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["type"] + "-" + str(len(str(rule))))
def test_the_matrix_is_the_oracles_at_every_cut_of_the_work(
    rule: dict[str, Any], traffic: list[dict[str, Any]], ndjson: Path
) -> None:
    wanted = expected(rule, traffic)
    assert wanted[0] + wanted[1] > 0, "a rule that never matches proves nothing"
    first = asked(ndjson, rule)
    assert found(first) == wanted
    grid = [{"batchSize": size, "workers": workers} for size in (1, 7, 100, 1000) for workers in (1, 2, 8)]
    for how in (*grid, {"shards": 3}):
        again = asked(ndjson, rule, **how)
        assert again.counts == first.counts, how
        if "shards" not in how:
            assert again == first, how


def test_the_comparison_with_the_live_rule_is_the_oracles(traffic: list[dict[str, Any]], ndjson: Path) -> None:
    counts = asked(ndjson, REGEX, baseline=LITERAL, workers=2).counts
    candidate, live = (matches(rule, traffic, set()) for rule in (REGEX, LITERAL))
    labels = [row["label"] == "attack" for row in traffic]
    right = list(
        zip(
            (a == b for a, b in zip(candidate, labels, strict=True)),
            (a == b for a, b in zip(live, labels, strict=True)),
            strict=True,
        )
    )
    assert counts.pairs is not None
    assert counts.live is not None
    assert (counts.pairs.both_right, counts.pairs.only_candidate) == (
        right.count((True, True)),
        right.count((True, False)),
    )
    assert (counts.pairs.only_live, counts.pairs.both_wrong) == (
        right.count((False, True)),
        right.count((False, False)),
    )
    assert (counts.live.tp, counts.live.fp, counts.live.tn, counts.live.fn) == matrix(LITERAL, traffic, set())


def test_mistakes_are_those_of_the_oracle_and_the_same_at_every_cut(
    traffic: list[dict[str, Any]], ndjson: Path
) -> None:
    one, other = asked(ndjson, REGEX), asked(ndjson, REGEX, workers=2, batchSize=7)
    assert one.false_negatives == other.false_negatives
    assert len(one.false_negatives) == 50
    answers = matches(REGEX, traffic, set())
    for mistake in one.false_negatives:
        row = traffic[mistake.line - 1]
        assert row["payload"].startswith(mistake.payload[:100])
        assert row["label"] == "attack"
        assert not answers[mistake.line - 1]


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_sample_is_stratified_exact_and_the_same_at_every_cut(
    size: int, traffic: list[dict[str, Any]], ndjson: Path
) -> None:
    one = asked(ndjson, LIBINJECTION, sampleSize=size)
    assert one.counts.matrix.total == size
    share = sum(row["label"] == "attack" for row in traffic) / len(traffic)
    assert abs(one.counts.matrix.attacks - size * share) < 1
    for how in ({"workers": 2, "batchSize": 7}, {"shards": 5}):
        assert asked(ndjson, LIBINJECTION, sampleSize=size, **how).counts == one.counts
    assert size < 1000 or asked(ndjson, LIBINJECTION, sampleSize=size, seed=SEED + 1).counts != one.counts


def test_a_sample_larger_than_the_data_is_the_data(ndjson: Path) -> None:
    assert asked(ndjson, LITERAL, sampleSize=10**6).counts == asked(ndjson, LITERAL).counts
