"""Many values in one call, by pyarrow's kernels: one expression over many texts (RE2, too), tickets of many lines.

A call costs a tenth of a millisecond, and then each text a fifth of what a call of its own would cost. The two
libraries may hold RE2s of different age, whose tables of Unicode differ; so only expressions that ask no such table
come here, and where a batch begins or ends can change no answer.
"""

from collections.abc import Callable, Sequence
from typing import Final

from shieldx_runtime.shadow.draw import FIRST, LINE_STEP, MASK, SECOND, SEED_STEP, ticket

WORTH_IT: Final = 128
"""Texts from which on the call pays for itself."""

Matcher = Callable[[Sequence[str]], list[bool]]


def matcher(pattern: str) -> Matcher | None:
    """Tells for each text whether `pattern`, which RE2 takes, is found in it; None where it must go text by text."""
    if not pattern.isascii() or "\\p" in pattern or "\\P" in pattern:
        return None
    # a fifth of a second that other rules need not pay
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    def match(texts: Sequence[str]) -> list[bool]:
        # large: offsets of 32 bits end at 2 GiB
        found: list[bool] = compute.match_substring_regex(pa.array(texts, pa.large_string()), pattern).to_pylist()
        return found

    try:
        match([""])
    except pa.ArrowInvalid:  # larger than it allows an expression to become
        return None
    return match


def tickets(seed: int, lines: Sequence[int]) -> list[int]:
    """`draw.ticket` of each line."""
    if len(lines) < WORTH_IT:
        return [ticket(seed, line) for line in lines]
    import pyarrow as pa  # noqa: PLC0415 - as above
    from pyarrow import compute  # noqa: PLC0415 - as above

    def number(value: int) -> pa.Scalar:
        return pa.scalar(value & MASK, pa.uint64())

    def folded(values: pa.Array, bits: int) -> pa.Array:
        return compute.bit_wise_xor(values, compute.shift_right(values, number(bits)))

    # 64 bits that wrap around, as the masks do it there
    mixed = compute.multiply(pa.array(lines, pa.uint64()), number(LINE_STEP))
    mixed = compute.add(mixed, number(seed * SEED_STEP + SEED_STEP))
    mixed = compute.multiply(folded(mixed, 30), number(FIRST))
    mixed = compute.multiply(folded(mixed, 27), number(SECOND))
    made: list[int] = folded(mixed, 31).to_pylist()
    return made
