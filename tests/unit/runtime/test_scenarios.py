"""The table of scenarios names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILES = {
    "fl": "integration/test_ledger.py",
    "co": "integration/test_concurrency.py",
    "fa": "integration/test_faults.py",
    "id": "integration/test_idempotency.py",
    "ca": "integration/test_cache.py",
    "fr": "integration/test_front.py",
    "pr": "integration/test_previous_release.py",
    "to": "integration/test_torture.py",
    "mo": "integration/test_model.py",
    "cl": "integration/test_calls.py",
    "br": "unit/runtime/test_breaker.py",
}


def test_every_scenario_of_the_table_has_its_test() -> None:
    table = (ROOT / "docs" / "reference" / "ledger-scenarios.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `(\w\w)::(test_\w+)` \|", table)
    assert len(named) >= 20 + 8 + 12 + 15
    texts = {short: (ROOT / "tests" / path).read_text(encoding="utf-8") for short, path in FILES.items()}
    assert [name for short, name in named if not re.search(rf"def {name}\(", texts[short])] == []
