"""Figures of single objects for Prometheus, as their status tells them: set at each look, gone with the object.

They are out of the status and not counted, so that a restart of the operator loses none. Their labels name objects: a
kind that has measures is one of which there are few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shieldx_operator.engine.types import Kind, Measure, Ref

_OF_AN_OBJECT: Final = ("namespace", "name")


@dataclass(slots=True, eq=False)
class Measures(Collector):
    """`gauges` maps a gauge's name to its meaning and the names of its labels beside namespace and name."""

    gauges: Mapping[str, tuple[str, tuple[str, ...]]]
    _told: dict[Ref, Sequence[Measure]] = field(default_factory=dict)

    @classmethod
    def of(cls, kinds: Iterable[Kind]) -> "Measures":
        gauges: dict[str, tuple[str, tuple[str, ...]]] = {}
        for kind in kinds:
            gauges.update(getattr(kind, "measured", {}))
        return cls(gauges)

    def tell(self, ref: Ref, measures: Sequence[Measure]) -> None:
        self._told[ref] = measures

    def forget(self, ref: Ref) -> None:
        self._told.pop(ref, None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(name, meaning, labels=(*_OF_AN_OBJECT, *labels))
            for name, (meaning, labels) in self.gauges.items()
        }
        for ref, measures in sorted(self._told.items()):
            for measure in measures:
                _, names = self.gauges[measure.gauge]
                values = [ref.namespace, ref.name, *(measure.labels[name] for name in names)]
                families[measure.gauge].add_metric(values, measure.value)
        return families.values()
