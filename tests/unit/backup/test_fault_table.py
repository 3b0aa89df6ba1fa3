"""The table of faults names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILES = {
    "fa": "integration/backup/test_faults.py",
    "fu": "integration/backup/test_full_disks.py",
    "st": "integration/backup/test_streams.py",
    "rk": "integration/backup/test_restore_killed.py",
    "ee": "integration/backup/test_end_to_end.py",
    "lo": "integration/backup/test_loss.py",
    "le": "unit/backup/test_lease.py",
    "re": "unit/backup/test_retention.py",
    "ro": "unit/backup/test_rollback.py",
    "gr": "unit/backup/test_growth.py",
    "fr": "unit/backup/test_frames.py",
    "po": "unit/kinds/test_backuppolicy.py",
    "ba": "unit/kinds/test_backup.py",
    "ho": "unit/kinds/test_restore.py",
    "cl": "e2e/backup/test_backup_and_restore.py",
    "fd": "e2e/backup/test_full_disk.py",
    "s3": "e2e/backup/test_s3.py",
}


def test_every_fault_of_the_table_has_its_test() -> None:
    table = (ROOT / "docs" / "reference" / "backup-faults.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `(\w\w)::(test_\w+)` \|", table)
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| fault"))]
    assert len(named) == len(rows)
    texts = {short: (ROOT / "tests" / path).read_text(encoding="utf-8") for short, path in FILES.items()}
    assert [name for short, name in named if not re.search(rf"def {name}\(", texts[short])] == []
