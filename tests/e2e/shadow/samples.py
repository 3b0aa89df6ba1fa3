"""Labelled samples whose matrix is known before anything is judged."""

import json
from typing import Any, Final

ATTACK: Final = "/search?q=' or '1'='1"
SPEC: Final[dict[str, Any]] = {
    "rule": {"id": "rule-001", "type": "signature", "pattern": "' or '1'='1"},
    "data": {"configMap": {"name": "samples", "key": "samples.ndjson"}},
    "gates": {"minPrecision": 0.8},
    "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
    "backoffLimitPerIndex": 5,
}
MATRIX: Final = {"truePositives": 300, "falsePositives": 20, "trueNegatives": 580, "falseNegatives": 100}


def ndjson() -> str:
    """1,000 samples: 400 attacks, of which the rule of `SPEC` sees 300, and 600 benign ones, of which it hits 20."""
    lines = []
    for n in range(1000):
        if n % 5 < 2:
            k = n // 5 * 2 + n % 5
            payload = f"{ATTACK}&n={n}" if k < 300 else f"/search?q=1;drop table t{n}"
            lines.append({"payload": payload, "label": "attack", "attack_type": "tautology" if k < 300 else "stacked"})
        else:
            k = n // 5 * 3 + n % 5 - 2
            payload = f"/forum?q=what does {ATTACK[10:]} mean {n}" if k < 20 else f"/search?q=shoes {n}"
            lines.append({"payload": payload, "label": "benign"})
    return "".join(json.dumps(line) + "\n" for line in lines)
