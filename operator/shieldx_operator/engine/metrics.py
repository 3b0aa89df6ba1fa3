"""What the operator counts, as Prometheus reads it.

Label values are bounded: kinds, verbs, resources and codes, never a namespace or a name.
"""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_RECONCILE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_CALL_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15)


@dataclass(slots=True)
class Metrics:
    """All metrics of one operator process, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    reconciles: Counter = field(init=False)
    reconcile_duration_s: Histogram = field(init=False)
    api_calls: Counter = field(init=False)
    api_call_duration_s: Histogram = field(init=False)
    queue_depth: Gauge = field(init=False)
    queue_oldest_age_s: Gauge = field(init=False)
    queue_retries: Counter = field(init=False)
    events: Counter = field(init=False)
    leader: Gauge = field(init=False)
    loop_lag_s: Gauge = field(init=False)
    watch_healthy: Gauge = field(init=False)

    def __post_init__(self) -> None:
        r = self.registry
        self.reconciles = Counter(
            "shieldx_operator_reconciles", "Reconciles by kind and result.", ("kind", "result"), registry=r
        )
        self.reconcile_duration_s = Histogram(
            "shieldx_operator_reconcile_duration_seconds",
            "Duration of one reconcile.",
            ("kind",),
            buckets=_RECONCILE_BUCKETS_S,
            registry=r,
        )
        self.api_calls = Counter(
            "shieldx_operator_api_calls",
            "Calls to the API server; code is the HTTP status, or `error` without an answer.",
            ("verb", "resource", "code"),
            registry=r,
        )
        self.api_call_duration_s = Histogram(
            "shieldx_operator_api_call_duration_seconds",
            "Duration of one call to the API server.",
            ("verb",),
            buckets=_CALL_BUCKETS_S,
            registry=r,
        )
        self.queue_depth = Gauge("shieldx_operator_queue_depth", "Keys that wait for a worker.", registry=r)
        self.queue_oldest_age_s = Gauge(
            "shieldx_operator_queue_oldest_age_seconds", "How long the longest waiting key has been due.", registry=r
        )
        self.queue_retries = Counter(
            "shieldx_operator_queue_retries", "Reconciles that will be tried again.", registry=r
        )
        self.events = Counter("shieldx_operator_events", "Events by what became of them.", ("outcome",), registry=r)
        self.leader = Gauge("shieldx_operator_leader", "1 while this process holds the lease.", registry=r)
        self.loop_lag_s = Gauge(
            "shieldx_operator_loop_lag_seconds", "How late the event loop woke up last.", registry=r
        )
        self.watch_healthy = Gauge(
            "shieldx_operator_watch_healthy", "1 while the watch of a resource is alive.", ("resource",), registry=r
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
