"""Which of a service's components speaks for the whole."""

import pytest

from shieldx_operator.blocks.component import Component, overall
from shieldx_operator.engine.types import Condition, Failure, Results

FINE = Component("DatabaseReady", "True", "Available", "it is ready")
WAITS = Component("DatabaseReady", "Unknown", "NotReachedYet", "the migration has not reached it")
STARTS = Component("CacheReady", "False", "Starting", "waiting for its pod")
BROKEN = Component("SchemaCurrent", "False", "MigrationFailed", "password authentication failed", needs_person=True)


def told(*parts: Component, failures: tuple[Failure, ...] = ()) -> Condition:
    return overall(parts, Results(failures=failures), "it serves")[0]


@pytest.mark.parametrize(
    ("parts", "speaker"),
    [
        ((WAITS, BROKEN), BROKEN),
        ((STARTS, BROKEN), BROKEN),
        ((WAITS, STARTS), STARTS),
        ((FINE, WAITS), WAITS),
    ],
    ids=["over what waits for it", "over what only starts", "over what is unknown", "alone"],
)
def test_what_needs_a_person_speaks_for_the_whole(parts: tuple[Component, ...], speaker: Component) -> None:
    ready = told(*parts)
    assert (ready.status, ready.reason, ready.message) == ("False", speaker.reason, speaker.message)


def test_a_refused_write_speaks_before_any_component() -> None:
    refused = Failure("Deployment a/b", "Invalid", "spec.x is wrong", retryable=False)
    assert told(BROKEN, failures=(refused,)).reason == "Invalid"


def test_all_true_is_ready() -> None:
    assert (told(FINE).status, told(FINE).message) == ("True", "it serves")
