"""The table of scenarios names tests that exist, as many as were promised."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests" / "integration"
TABLE = (ROOT / "docs" / "reference" / "ledger-scenarios.md").read_text(encoding="utf-8")
FILES = {
    "fl": "test_ledger.py",
    "co": "test_concurrency.py",
    "fa": "test_faults.py",
    "id": "test_idempotency.py",
    "ca": "test_cache.py",
    "bk": "test_breakers.py",
    "rb": "test_runbooks.py",
    "mt": "test_maintenance.py",
    "al": "test_alerts.py",
    "pr": "test_previous_release.py",
    "to": "test_torture.py",
    "mo": "test_model.py",
    "cl": "test_calls.py",
    "ta": "audit/test_tampering.py",
    "ec": "audit/test_every_column.py",
}


def named(part: str) -> list[tuple[str, str]]:
    return re.findall(r"\| `(\w\w)::(test_\w+)` \|", part)


def test_every_scenario_of_the_table_has_its_test() -> None:
    texts = {short: (TESTS / path).read_text(encoding="utf-8") for short, path in FILES.items()}
    assert [name for short, name in named(TABLE) if not re.search(rf"def {name}\(", texts[short])] == []
    assert sorted(set(FILES) - {short for short, _ in named(TABLE)}) == []
    assert len(set(named(TABLE))) == len(named(TABLE))


@pytest.mark.parametrize(
    ("title", "least"),
    [("Atomic, consistent, isolated, durable", 20), ("Idempotent", 8), ("Circuit breaker", 12), ("Cache", 15)],
)
def test_each_part_has_as_many_scenarios_as_were_promised(title: str, least: int) -> None:
    part = TABLE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert len(named(part)) >= least
