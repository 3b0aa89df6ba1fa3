"""The figures of a policy, as its metrics show them."""

import pytest

from shieldx_operator.engine.measures import Measures
from shieldx_operator.engine.types import Ref
from shieldx_operator.kinds.backuppolicy import BackupPolicyKind
from shieldx_operator.kinds.backuppolicy.facts import span_text
from tests.unit.kinds.backuppolicy.world import Keeping
from tests.unit.kinds.world import SETTINGS, START


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25s"), (59, "59s"), (310, "5m10s"), (21720, "6h02m"), (273600, "3d04h")]
)
def test_a_span_of_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def measured(w: Keeping) -> dict[tuple[str, ...], float]:
    kind = BackupPolicyKind(SETTINGS)
    found = kind.measures(w.parent, w.status())
    assert {m.gauge for m in found} <= kind.measured.keys()
    return {(m.gauge, *m.labels.values()): m.value for m in found}


def test_the_figures_say_never_before_the_first_copy_and_when_afterwards() -> None:
    w = Keeping()
    w.settle()
    assert measured(w)["shieldx_backup_last_verified_timestamp_seconds", "database"] == 0
    assert ("shieldx_backup_objectives_met",) not in measured(w)
    w.prove()
    figures = measured(w)
    assert figures["shieldx_backup_last_verified_timestamp_seconds", "database"] == START.timestamp()
    assert figures["shieldx_backup_measured_seconds", "rto"] == 12.5
    assert figures["shieldx_backup_size_bytes", "database"] == 4096
    assert figures["shieldx_backup_duration_seconds", "database"] == 1.5
    assert figures["shieldx_backup_objectives_met",] == 1


def test_the_figures_of_an_object_are_shown_under_its_name_until_it_is_gone() -> None:
    kind = BackupPolicyKind(SETTINGS)
    w = Keeping()
    w.settle()
    shown = Measures.of([kind])
    ref = Ref(kind.resource, "team", "nightly")
    shown.tell(ref, kind.measures(w.parent, w.status()))
    names = [s.labels["name"] for f in shown.collect() for s in f.samples]
    assert names
    assert set(names) == {"nightly"}
    shown.forget(ref)
    assert not [s for f in shown.collect() for s in f.samples]
