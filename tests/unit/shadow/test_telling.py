"""What Prometheus is told of evaluations."""

from prometheus_client import CollectorRegistry

from shieldx_runtime.shadow.service.charge import ENDS, State
from shieldx_runtime.shadow.service.telling import Told


def test_the_first_evaluation_that_is_not_paid_is_a_rise_from_nothing() -> None:
    registry = CollectorRegistry()
    told = Told(registry)

    def count(end: str) -> float | None:
        return registry.get_sample_value("shadow_charges_total", {"result": end})

    assert {end: count(end) for end in ENDS} == dict.fromkeys(ENDS, 0.0)
    told.charge(State.LAPSED, 0)
    assert count("lapsed") == 1.0
