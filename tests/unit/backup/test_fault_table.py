"""The table of faults names tests that exist."""

from tests.unit.proofs import Proofs


def test_every_fault_of_the_table_has_its_test() -> None:
    Proofs("backup-faults.md").assert_each_has_its_test()
