"""Which records are drawn, trained on, or kept to be read: by a number that a seed gives each line, by nothing else.

That number does not depend on how the data are cut into chunks, shards or batches, so neither does any choice.
"""

from __future__ import annotations  # array[int] is a type for the checker alone

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

MASK: Final = 2**64 - 1
SEED_STEP: Final = 0x9E3779B97F4A7C15
LINE_STEP: Final = 0xD1B54A32D192ED03
FIRST: Final = 0xBF58476D1CE4E5B9
SECOND: Final = 0x94D049BB133111EB
SHARD_LINES: Final = 256
"""Neighbours go to the same shard, so that the others can skip them in one step."""


def ticket(seed: int, line: int) -> int:
    """A number of 64 bits for a line, evenly spread: the finalizer of SplitMix64.

    G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mixed = (seed * SEED_STEP + line * LINE_STEP + SEED_STEP) & MASK
    mixed = ((mixed ^ mixed >> 30) * FIRST) & MASK
    mixed = ((mixed ^ mixed >> 27) * SECOND) & MASK
    return mixed ^ mixed >> 31


def shard_of(line: int, shards: int) -> int:
    return (line // SHARD_LINES) % shards


def trains(seed: int, line: int) -> bool:
    """Whether a model learns from this line; it then judges none of them. About every second line does."""
    return ticket(seed ^ 0x7261696E, line) & 1 == 1


@dataclass(slots=True)
class Strata:
    """The smallest tickets of each stratum, and how many records it has.

    A stratum is a label, or the records that have none: those are drawn in their proportion too, so that a sample has
    the errors of the whole.
    """

    wanted: int
    sizes: dict[str, int] = field(default_factory=dict)
    _tickets: dict[str, array[int]] = field(default_factory=dict)

    def add(self, found: Mapping[str, Iterable[int]]) -> None:
        """Takes the tickets of a chunk; keeps at most twice as many a stratum as are wanted in all."""
        for stratum, tickets in found.items():
            kept = self._tickets.setdefault(stratum, array("Q"))
            before = len(kept)
            kept.extend(tickets)
            self.sizes[stratum] = self.sizes.get(stratum, 0) + len(kept) - before
            if len(kept) > 2 * self.wanted + 1000:
                self._tickets[stratum] = array("Q", sorted(kept)[: self.wanted])

    def thresholds(self) -> dict[str, int]:
        """By stratum the largest ticket that is drawn: `wanted` records in all, each stratum by its share.

        What is left after rounding down goes to the largest remainders (A. Hamilton's method of apportionment, 1792).
        """
        total = sum(self.sizes.values())
        wanted = min(self.wanted, total)
        quotas = {stratum: wanted * size // total for stratum, size in self.sizes.items()}
        by_remainder = sorted(self.sizes, key=lambda stratum: (-(wanted * self.sizes[stratum] % total), stratum))
        for stratum in by_remainder[: wanted - sum(quotas.values())]:
            quotas[stratum] += 1
        return {stratum: sorted(self._tickets[stratum])[quota - 1] for stratum, quota in quotas.items() if quota > 0}
