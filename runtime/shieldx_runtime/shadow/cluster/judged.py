"""What passes between a worker and the engine that judges its shard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one shard: its counts as plain JSON, and what they were counted on and by."""

    counts: Mapping[str, Any]
    dataset_digest: str
    engine: str


Progress = Callable[[int], None]
"""Told from time to time how many samples have been judged."""
