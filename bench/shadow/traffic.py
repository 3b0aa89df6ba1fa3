"""The input: the HttpParams data where they lie beside the checkout, repeated; else seeded text of the same form."""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
HTTPPARAMS: Final = _ROOT.parent / "shared" / "data" / "httpparams" / "payload_full.csv"
_ATTACK_SHARE: Final = 0.38
"""As HttpParams has it."""
_STEP: Final = 7919
"""A prime: rows are taken far from each other, so that every part of a file has all kinds of them."""


def source() -> str:
    """What the samples are made of."""
    return "HttpParams, repeated" if HTTPPARAMS.exists() else "seeded text: the HttpParams data are not there"


def write(path: Path, samples: int) -> Path:
    """Write `samples` labelled payloads as NDJSON."""
    rows = list(_rows())
    with path.open("w", encoding="utf-8") as file:
        for place in range(samples):
            payload, label, kind = rows[place * _STEP % len(rows)]
            file.write(json.dumps({"payload": payload, "label": label, "attack_type": kind}) + "\n")
    return path


def _rows() -> Iterator[tuple[str, str, str]]:
    if not HTTPPARAMS.exists():
        yield from _made_up()
        return
    with HTTPPARAMS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["payload"], "attack" if row["label"] == "anom" else "benign", row["attack_type"]


def _made_up() -> Iterator[tuple[str, str, str]]:
    chance = random.Random(7)  # noqa: S311 - seeded on purpose
    words = ["calle", "12", "ana", "o'hara", "x=1", "union", "select", "madrid", "28013", "perez"]
    for _ in range(30_000):
        text = " ".join(chance.choices(words, k=chance.randrange(1, 12)))
        if chance.random() < _ATTACK_SHARE:
            yield f"{text}' union  select {text}--", "attack", "sqli"
        else:
            yield text, "benign", "norm"
