"""Labelled traffic: the HttpParams data where they lie beside the checkout, else seeded traffic of the same form."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

HTTPPARAMS = Path(__file__).resolve().parents[4] / "shared" / "data" / "httpparams" / "payload_full.csv"
ROWS = 6000
_ATTACKS = (
    "' OR '1'='1",
    "1 UNION select a,b FROM c--",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "; cat /etc/x",
)
_TYPES = ("sqli", "sqli", "xss", "path-traversal", "cmdi")


def _made_up() -> list[tuple[str, str, str]]:
    chance = random.Random(7)  # noqa: S311 - seeded on purpose
    rows = []
    for _ in range(ROWS):
        if chance.random() < 0.3:
            place = chance.randrange(len(_ATTACKS))
            rows.append((chance.choice("abc") + _ATTACKS[place], "attack", _TYPES[place]))
        else:
            rows.append((" ".join(chance.choices(["calle", "12", "ana", "o'hara", "x=1"], k=3)), "benign", "norm"))
    return rows


def _real() -> list[tuple[str, str, str]]:
    with HTTPPARAMS.open(encoding="utf-8", newline="") as file:
        rows = [
            (row["payload"], "attack" if row["label"] == "anom" else "benign", row["attack_type"])
            for row in csv.DictReader(file)
        ]
    random.Random(7).shuffle(rows)  # noqa: S311 - seeded on purpose
    return rows[:ROWS]


@pytest.fixture(scope="session")
def traffic() -> list[dict[str, Any]]:
    """`ROWS` labelled requests of 40 clients within an hour; some step back in time by a few seconds."""
    chance = random.Random(11)  # noqa: S311 - seeded on purpose
    rows = []
    for place, (payload, label, kind) in enumerate(_real() if HTTPPARAMS.exists() else _made_up()):
        second = max(0, place * 3600 // ROWS - chance.randrange(3))
        rows.append(
            {
                "payload": payload,
                "label": label,
                "attack_type": kind,
                "timestamp": f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00",
                "client_ip": f"203.0.{chance.randrange(4)}.{chance.randrange(10)}",
            }
        )
    return rows


@pytest.fixture(scope="session")
def ndjson(traffic: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traffic") / "samples.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in traffic), encoding="utf-8")
    return path
