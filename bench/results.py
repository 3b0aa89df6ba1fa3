"""What a benchmark leaves: its figures as JSON for machines, and a section of RESULTS.md for people."""

import json
from pathlib import Path
from typing import Any


def keep(folder: Path, name: str, result: dict[str, Any], section: str, body: str) -> None:
    """Write results/<name>.json and the section of RESULTS.md under `folder`; other sections stay as they are.

    `section`: the heading, as `## Operator engine`. `body`: what stands below it.
    """
    results = folder / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    path = folder / "RESULTS.md"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, _, rest = text.partition(section)
    _, mark, after = rest.partition("\n## ")
    kept = f"{before.rstrip()}\n\n{section}\n\n{body}"
    path.write_text(kept + (mark + after if mark else ""), encoding="utf-8")
