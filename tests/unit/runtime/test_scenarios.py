"""The table of scenarios names tests that exist, as many as were promised."""

import pytest

from tests.unit.proofs import Proofs

SCENARIOS = Proofs("ledger-scenarios.md")


def test_every_scenario_of_the_table_has_its_test() -> None:
    SCENARIOS.assert_each_has_its_test()


@pytest.mark.parametrize(
    ("title", "least"),
    [("Atomic, consistent, isolated, durable", 20), ("Idempotent", 8), ("Circuit breaker", 12), ("Cache", 15)],
)
def test_each_part_has_as_many_scenarios_as_were_promised(title: str, least: int) -> None:
    assert len(SCENARIOS.part(title)) >= least
