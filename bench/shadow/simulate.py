"""Simulations of what the statistics promise.

How often an interval holds the truth, and how often a rule is promoted that must not be. Seeded: runs repeat.
"""

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import exp, lgamma, log
from typing import Any, Final

from shieldx_verdict import Counts, Gates, Matrix, Pairs, intervals, judge

SEED: Final = 20260101
_LEAST_EVENTS: Final = 10
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class World:
    """What is true: how many attacks and benign samples are drawn, recall, and false positive rate."""

    attacks: int
    benign: int
    recall: float
    rate: float

    @property
    def precision(self) -> float:
        return self.attacks * self.recall / (self.attacks * self.recall + self.benign * self.rate)

    @property
    def f1(self) -> float:
        """Of the expected counts."""
        tp = self.attacks * self.recall
        return 2 * tp / (tp + self.benign * self.rate + self.attacks)

    def draw(self, chance: random.Random) -> Matrix:
        """A sample stratified by label, as the engine draws it."""
        tp, fp = _binomial(chance, self.attacks, self.recall), _binomial(chance, self.benign, self.rate)
        return Matrix(tp, fp, self.benign - fp, self.attacks - tp)

    def draw_unstratified(self, chance: random.Random) -> Matrix:
        """A plain random sample: the number of attacks is random, too."""
        total = self.attacks + self.benign
        attacks = _binomial(chance, total, self.attacks / total)
        return World(attacks, total - attacks, self.recall, self.rate).draw(chance)


def _binomial(chance: random.Random, trials: int, share: float) -> int:
    """By inversion of the exact distribution."""
    if trials == 0:
        return 0
    return min(bisect_left(_cumulated(trials, share), chance.random()), trials)


@cache
def _cumulated(trials: int, share: float) -> list[float]:
    cumulated, total = [], 0.0
    whole = lgamma(trials + 1)
    for hits in range(trials + 1):
        term = whole - lgamma(hits + 1) - lgamma(trials - hits + 1)
        total += exp(term + hits * log(share) + (trials - hits) * log(1 - share))
        cumulated.append(total)
    return cumulated


def worlds(number: int, chance: random.Random) -> list[World]:
    """Worlds such as evaluations meet: 200 to 20,000 samples, few attacks or many, weak rules and good ones."""
    found: list[World] = []
    while len(found) < number:
        total = int(10 ** chance.uniform(2.3, 4.3))
        attacks = max(20, int(total * chance.uniform(0.05, 0.6)))
        world = World(attacks, total - attacks, chance.uniform(0.3, 0.98), 10 ** chance.uniform(-3, -0.7))
        # where a handful of events is expected a binomial has few values, and no interval can be exact
        expected = (world.benign * world.rate, world.attacks * (1 - world.recall))
        if min(expected) >= _LEAST_EVENTS:
            found.append(world)
    return found


Bounds = Callable[[Matrix], Interval | None]
_MEASURES: Final[dict[str, tuple[Bounds, Callable[[World], float]]]] = {
    "precision": (lambda m: intervals.wilson(m.tp, m.tp + m.fp), lambda w: w.precision),
    "recall": (lambda m: intervals.wilson(m.tp, m.attacks), lambda w: w.recall),
    "false_positive_rate": (lambda m: intervals.wilson(m.fp, m.benign), lambda w: w.rate),
    "f1": (lambda m: intervals.f1(m.tp, m.fp, m.fn), lambda w: w.f1),
}


def coverage(number: int, draws: int) -> dict[str, dict[str, float]]:
    """By measure the share of intervals that hold the truth: mean, least and most over the worlds."""
    chance = random.Random(SEED)  # noqa: S311 - seeded on purpose
    shares: dict[str, list[float]] = {name: [] for name in (*_MEASURES, "f1_unstratified")}
    for world in worlds(number, chance):
        drawn = [world.draw(chance) for _ in range(draws)]
        for name, (bounds, truth) in _MEASURES.items():
            shares[name].append(_held(drawn, bounds, truth(world)))
        _cumulated.cache_clear()
        some = [world.draw_unstratified(chance) for _ in range(draws // 20)]
        shares["f1_unstratified"].append(_held(some, _MEASURES["f1"][0], world.f1))
        _cumulated.cache_clear()
    return {
        name: {"mean": round(sum(of) / len(of), 4), "least": round(min(of), 4), "most": round(max(of), 4)}
        for name, of in shares.items()
    }


def _held(drawn: list[Matrix], bounds: Bounds, truth: float) -> float:
    found = [bounds(matrix) for matrix in drawn]
    return sum(interval is not None and interval[0] <= truth <= interval[1] for interval in found) / len(found)


def false_promote(number: int, draws: int) -> dict[str, float]:
    """How often a rule is promoted that is exactly as good as the gate, the worst of those that must not be.

    Not better than the gate is not good enough: of all rules at or below it, this one has the best chance.
    """
    chance = random.Random(SEED + 1)  # noqa: S311 - seeded on purpose
    found: dict[str, list[float]] = {}
    for world in worlds(number, chance):
        gates = {
            "minRecall": Gates(min_recall=world.recall),
            "minPrecision": Gates(min_precision=world.precision),
            "minF1": Gates(min_f1=world.f1),
            "maxFalsePositiveRate": Gates(max_false_positive_rate=world.rate),
        }
        drawn = [Counts(matrix=world.draw(chance)) for _ in range(draws)]
        for name, gate in gates.items():
            promoted = sum(judge(counts, gate).verdict == "PROMOTE" for counts in drawn)
            found.setdefault(name, []).append(promoted / draws)
        _cumulated.cache_clear()
    return {name: round(sum(shares) / len(shares), 4) for name, shares in found.items()} | {
        "worst": round(max(max(shares) for shares in found.values()), 4)
    }


def false_better(draws: int) -> float:
    """How often McNemar's exact test calls one of two equally good rules the better one."""
    chance = random.Random(SEED + 2)  # noqa: S311 - seeded on purpose
    called = 0
    for _ in range(draws):
        differ = chance.randrange(5, 400)
        only = _binomial(chance, differ, 0.5)
        pairs = Pairs(9000, only, differ - only, 100)
        live = Matrix(900, 10, 9000, 90)
        comparison = judge(Counts(matrix=live, live=live, pairs=pairs), Gates()).comparison
        called += comparison is not None and comparison.better != "neither"
    return round(called / draws, 4)


def simulate(*, short: bool) -> dict[str, Any]:
    """All of it; `short` draws a tenth."""
    number, draws = (12, 1000) if short else (40, 2000)
    return {
        "coverage": coverage(number, draws),
        "false_promote_by_gate": false_promote(number, draws // 4),
        "false_better": false_better(draws),
        "worlds": number,
        "draws": draws,
        "seed": SEED,
    }
