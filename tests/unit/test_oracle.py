"""The crash oracle finds what it is there to find: a proof that cannot fail is none."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.oracle import Entry, Intent, OracleError, check_answers, check_sums, crossings, read_diary

KEYS = [f"00000000-0000-4000-8000-{n:012d}" for n in range(9)]


def entry(version: int, kind: str, amount: int, balance_after: int, **more: Any) -> Entry:
    given = {"transaction_id": f"t-{version}", "key": KEYS[version], "related_id": None, **more}
    return Entry("org-1", version, kind, amount, balance_after, **given)


BOUGHT = entry(1, "purchase", 10, 10)
SPENT = entry(2, "consume", 4, 6)
TAKEN = Intent("/credits/consume", {}, 200, {"transaction_id": "t-2"})
REFUSED = Intent("/credits/consume", {}, 402, {"error": "Insufficient credits"})


def test_answers_and_ledger_that_agree_leave_only_what_nobody_asked_for() -> None:
    assert check_answers({KEYS[2]: TAKEN, KEYS[3]: REFUSED}, [BOUGHT, SPENT]) == [KEYS[1]]


@pytest.mark.parametrize(
    ("intents", "entries", "words"),
    [
        ({KEYS[2]: TAKEN}, [BOUGHT], "the ledger has None"),
        ({KEYS[2]: TAKEN}, [BOUGHT, replace(SPENT, transaction_id="t-9")], "the ledger has t-9"),
        ({KEYS[2]: TAKEN}, [BOUGHT, SPENT, replace(SPENT, version=3, transaction_id="t-3")], "stand twice"),
        ({KEYS[2]: REFUSED}, [BOUGHT, SPENT], "answered 402 and stands in the ledger"),
        ({KEYS[2]: Intent("/credits/consume", {})}, [BOUGHT, SPENT], "never answered"),
    ],
)
def test_what_was_lost_doubled_or_left_by_a_refusal_is_found(
    intents: dict[str, Intent], entries: list[Entry], words: str
) -> None:
    with pytest.raises(OracleError, match=words):
        check_answers(intents, entries)


def test_two_answers_to_one_key_are_found_in_the_diary() -> None:
    facts: list[dict[str, Any]] = [{"key": KEYS[1], "path": "/credits/consume", "body": {}}]
    facts += [{"key": KEYS[1], "status": 200, "answer": {"transaction_id": number}} for number in ("t-1", "t-1", "t-2")]
    lines = [json.dumps(fact) for fact in facts]
    assert read_diary(lines[:3])[KEYS[1]].answer == {"transaction_id": "t-1"}
    with pytest.raises(OracleError, match="answered twice"):
        read_diary(lines)


@pytest.mark.parametrize(
    ("entries", "balance", "version"),
    [
        ([BOUGHT, SPENT], 7, 2),
        ([BOUGHT, SPENT], 6, 3),
        ([BOUGHT, replace(SPENT, version=3)], 6, 3),
        ([BOUGHT, replace(SPENT, balance_after=5)], 6, 2),
        ([BOUGHT, entry(2, "consume", 11, -1)], -1, 2),
    ],
)
def test_a_balance_that_is_not_the_sum_or_below_zero_is_found(entries: list[Entry], balance: int, version: int) -> None:
    check_sums([BOUGHT, SPENT], 6, 2)
    with pytest.raises(OracleError):
        check_sums(entries, balance, version)


def test_a_threshold_is_crossed_each_time_what_can_be_spent_falls_below_it_anew() -> None:
    life = [
        BOUGHT,
        SPENT,  # 6
        entry(3, "reserve", 3, 6),  # 3 can be spent
        entry(4, "cancel", 3, 6, related_id="t-3"),
        entry(5, "consume", 1, 5),
        entry(6, "reserve", 2, 5),  # 3
        entry(7, "commit", 1, 4, related_id="t-6"),
    ]
    assert crossings(life, [10, 5, 4, 1]) == {10: 1, 5: 2, 4: 2}
