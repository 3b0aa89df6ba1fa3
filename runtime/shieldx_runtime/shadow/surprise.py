"""The model of `anomaly_detection`: how surprising a payload is to one who has seen the benign ones.

A payload's bytes are a chain in which each byte has a probability given the one before (with add-one smoothing over 256
bytes; P. S. Laplace). The score is the mean surprisal, -log2 of that probability, in bits a byte (C. E. Shannon, "A
mathematical theory of communication", 1948): about 2 to 4 for text like that which was learned, up to 8 and beyond for
text unlike it. Counts are integers and sums run in the order of the payload, so that every machine gets the same score.
"""

from __future__ import annotations  # array[int] is a type for the checker alone

from array import array
from collections.abc import Iterable, Mapping
from math import log2
from typing import Final

_BYTES: Final = 256
_START: Final = 32
"""A payload begins as if after a space."""


class Bigrams:
    """How often each byte came after each other in the benign payloads of the training part."""

    __slots__ = ("counts",)

    def __init__(self, counts: array[int] | None = None) -> None:
        self.counts = array("Q", bytes(8 * _BYTES * _BYTES)) if counts is None else counts

    def learn(self, payloads: Iterable[bytes]) -> None:
        counts = self.counts
        for payload in payloads:
            before = _START
            for byte in payload:
                counts[before << 8 | byte] += 1
                before = byte

    def found(self) -> dict[int, int]:
        """The counts that are not zero, by their place: what goes from one process to another."""
        return {place: count for place, count in enumerate(self.counts) if count}

    def add(self, found: Mapping[int, int]) -> None:
        for place, count in found.items():
            self.counts[place] += count


class Surprise:
    """Surprisal of each byte after each other, in bits."""

    __slots__ = ("_bits",)

    def __init__(self, learned: Bigrams) -> None:
        bits = array("d")
        for before in range(_BYTES):
            row = learned.counts[before << 8 : (before + 1) << 8]
            whole = log2(sum(row) + _BYTES)
            bits.extend(whole - log2(count + 1) for count in row)
        self._bits = bits

    def score(self, payload: bytes) -> float:
        """Mean surprisal in bits a byte; 0 for an empty payload."""
        if not payload:
            return 0.0
        bits = self._bits
        total = 0.0
        before = _START
        for byte in payload:
            total += bits[before << 8 | byte]
            before = byte
        return total / len(payload)
