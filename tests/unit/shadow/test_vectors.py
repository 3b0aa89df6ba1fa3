"""Two ways of asking one expression give one answer, whatever the texts; so the size of a batch changes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from shieldx_runtime.shadow import vectors
from shieldx_runtime.shadow.draw import ticket
from shieldx_runtime.shadow.rules import Regex
from shieldx_runtime.shadow.samples import Batch

PATTERNS = [
    r"(?i)union\s+(all\s+)?select",
    r"^a|b$",
    r"a\s*;",
    r"(?s)a.b",
    r"a.b",
    r"(?m)^x$",
    r"\bk\b",
    r"(?i)k",
    r"[^a-z]{2}",
    r"\x00",
    r"\x{e9}|z",
    r"(a|b)*c",
    r"",
    r"\d\w\S",
]
_PIECES = some.sampled_from(
    [
        *"abcxkKs1; \v\t\n\x00",
        "\r\n",
        "\u212a",
        "\u017f",
        "é",
        "e\u0301",
        "union",
        "SELECT",
        "\U0001d518",
        "\u2028",
        "\xa0",
    ]
)


def asked(rule: Regex, texts: list[str]) -> list[bool]:
    return rule.decide(Batch(range(len(texts)), texts, [False] * len(texts), [""] * len(texts)))


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=40, deadline=None)
@given(texts=some.lists(some.lists(_PIECES, max_size=40).map("".join), min_size=1, max_size=20))
def test_one_by_one_or_together_is_the_same(pattern: str, texts: list[str]) -> None:
    rule = Regex(pattern)
    many = texts * (vectors.WORTH_IT // len(texts) + 1)
    assert asked(rule, many)[: len(texts)] == asked(rule, texts)


@pytest.mark.parametrize("pattern", [r"\pL", r"\P{Greek}", "é", r"[\x{3b1}-ÿ]"])
def test_an_expression_over_unicodes_tables_goes_one_by_one_in_every_batch(pattern: str) -> None:
    assert vectors.matcher(pattern) is None


def test_a_miss_of_other_matchers_is_none_here() -> None:
    # 32 spaces and `a;`: PyPI's hyperscan misses it
    text = "a" + " " * 32 + "a;"
    rule = Regex(r"a\s*;")
    assert asked(rule, [text]) == [True]
    assert asked(rule, [text] * 1000) == [True] * 1000


@settings(max_examples=100, deadline=None)
@given(seed=some.integers(0, 2**53 - 1), first=some.integers(1, 2**40), step=some.integers(1, 1000))
def test_tickets_are_the_same_one_by_one_and_together(seed: int, first: int, step: int) -> None:
    lines = range(first, first + vectors.WORTH_IT * step, step)
    assert vectors.tickets(seed, lines) == [ticket(seed, line) for line in lines]
