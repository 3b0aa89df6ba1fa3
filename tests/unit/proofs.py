"""The tables of docs/reference that say which test proves what."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FILE = re.compile(r"^\| `(\w\w)` \| (tests/\S+\.py) \|$", re.MULTILINE)
_PROOF = re.compile(r"\| `(\w\w)::(test_\w+)` \|$", re.MULTILINE)


class Proofs:
    """One such table: its rows end with a test, `short::test_name`; its last part says which file each short is."""

    def __init__(self, page: str) -> None:
        self.text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")

    def part(self, title: str) -> list[tuple[str, str]]:
        """Short name of the file and name of the test of each row of a part."""
        return _PROOF.findall(self.text.partition(f"## {title}\n")[2].partition("\n## ")[0])

    def assert_each_has_its_test(self) -> None:
        """Each row names a test that exists, none twice, and each file that is listed is used."""
        named, files = _PROOF.findall(self.text), dict(_FILE.findall(self.text))
        rows = re.findall(r"^\| (?!-|fault |scenario |short )", self.text, re.MULTILINE)
        assert len(named) + len(files) == len(rows) == len(set(named)) + len(files)
        assert {short for short, _ in named} == set(files)
        texts = {short: (ROOT / path).read_text(encoding="utf-8") for short, path in files.items()}
        assert [name for short, name in named if not re.search(rf"def {name}\(", texts[short])] == []
