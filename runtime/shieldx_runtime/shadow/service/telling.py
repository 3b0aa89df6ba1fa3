"""The metrics of shadow evaluation."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shieldx_runtime.shadow.service.charge import ENDS

_MAX_RULES: Final = 1000
"""Rules are named by tenants: beyond so many the labels begin anew."""


class Told:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter("shadow_evaluation", "Evaluations by their end", ["result"], registry=registry)
        self._durations = Histogram(
            "shadow_evaluation_duration_seconds",
            "Time of an evaluation from its start to its end",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=registry,
        )
        self._f1 = Gauge("shadow_rule_f1_score", "F1 of a rule's last evaluation", ["rule_id"], registry=registry)
        self._queue = Gauge("shadow_worker_pool_queue_size", "Evaluations that wait for a process", registry=registry)
        self._rules: set[str] = set()
        self._charges = Counter(
            "shadow_charges", "Paid evaluations by how their charge ended", ["result"], registry=registry
        )
        for end in ENDS:
            # from 0 on: a series that begins with its first count has not risen, and no alert would see it
            self._charges.labels(end)
        self._credits = Counter("shadow_credits_charged", "Credits taken for evaluations", registry=registry)

    def watch_queue(self, size: Callable[[], int]) -> None:
        self._queue.set_function(size)

    def evaluation(self, result: str, seconds: float) -> None:
        self._total.labels(result).inc()
        self._durations.observe(seconds)

    def charge(self, result: str, credits_: int) -> None:
        self._charges.labels(result).inc()
        self._credits.inc(credits_)

    def f1(self, rule_id: str, value: float | None) -> None:
        if value is None:
            return
        if rule_id not in self._rules and len(self._rules) >= _MAX_RULES:
            self._f1.clear()
            self._rules.clear()
        self._rules.add(rule_id)
        self._f1.labels(rule_id).set(value)
