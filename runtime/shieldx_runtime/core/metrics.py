"""What Prometheus reads. One object a process, handed to whoever counts."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from shieldx_runtime.core.breaker import Breaker

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_WINDOW: Final = 1000
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.018, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    def __init__(self) -> None:
        # a second series beside each counter, which nobody asks for
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._operations = _Counts("credits_operations", "Operations by result", ("op", "result"))
        self._fronted = _Counts("http_front_answers", "Requests that were answered before the application", ())
        self._breakers = Gauge(
            "credits_circuit_breaker_state",
            "0 closed, 1 half-open, 2 open",
            ["dependency"],
            registry=self.registry,
        )
        self._durations = _Durations()
        for collector in (self._operations, self._fronted, self._durations):
            self.registry.register(collector)
        self._recent_reads: deque[bool] = deque(maxlen=_WINDOW)
        self._reads = Counter(
            "credits_cache_reads", "Balance reads that a tier was asked for", ["tier", "result"], registry=self.registry
        )
        self._tiers = {
            (tier, hit): self._reads.labels(tier, "hit" if hit else "miss")
            for tier in ("l1", "l2")
            for hit in (True, False)
        }
        hit_rate = Gauge(
            "credits_cache_hit_rate",
            f"Share of the last {_WINDOW} balance reads that the cache answered; NaN before the first",
            registry=self.registry,
        )
        hit_rate.set_function(self._hit_rate)
        self._cache_errors = Counter(
            "credits_cache_errors",
            "Calls of the cache that failed; each cost a hit and nothing else",
            registry=self.registry,
        )

    def operation(self, op: str, result: str) -> None:
        self._operations.count((op, result))

    def cache_read(self, tier: str, *, hit: bool) -> None:
        """One look into `tier`: l1, and after a miss there l2."""
        self._tiers[tier, hit].inc()
        if hit or tier == "l2":
            self._recent_reads.append(hit)

    def watch(self, breaker: Breaker) -> None:
        """Tells the state of a breaker from now on."""
        self._breakers.labels(breaker.name).set_function(lambda: float(breaker.state))

    def fronted(self) -> None:
        self._fronted.count(())

    def cache_error(self) -> None:
        self._cache_errors.inc()

    def request(self, method: str, route: str, status: int, duration_s: float) -> None:
        # a method is the client's word: anything unusual shares one label
        label = method if method in _METHODS else "other"
        self._durations.observe((label, route, status), duration_s)

    def _hit_rate(self) -> float:
        reads = self._recent_reads
        return sum(reads) / len(reads) if reads else float("nan")

    def exposition(self) -> tuple[bytes, str]:
        """The document for Prometheus and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _Counts(Collector):
    """A counter of this process's own single thread, which takes no lock for each request."""

    def __init__(self, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name, self._meaning, self._labels = name, meaning, labels
        self._series: dict[tuple[str, ...], int] = {} if labels else {(): 0}

    def count(self, labels: tuple[str, ...]) -> None:
        self._series[labels] = self._series.get(labels, 0) + 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, number in list(self._series.items()):
            family.add_metric(labels, number)
        yield family


class _Durations(Collector):
    """As `_Counts`, a histogram: no loop over buckets for each request."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}

    def observe(self, labels: tuple[str, str, int], duration_s: float) -> None:
        """`labels` are method, route and status."""
        series = self._series.get(labels)
        if series is None:
            # a count for each bucket, one beyond the last, and the sum
            series = self._series[labels] = [0.0] * (len(_BUCKETS_S) + 2)
        series[bisect_left(_BUCKETS_S, duration_s)] += 1
        series[-1] += duration_s

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Time from the first byte of a request's head to the end of its answer",
            labels=["method", "route", "status"],
        )
        for (method, route, status), series in list(self._series.items()):
            buckets, count = [], 0.0
            for bound, inside in zip([*map(str, _BUCKETS_S), "+Inf"], series[:-1], strict=True):
                count += inside
                buckets.append((bound, count))
            family.add_metric([method, route, str(status)], buckets, series[-1])
        yield family
