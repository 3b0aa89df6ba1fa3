import pytest

from shieldx_operator.engine.queue import MAX_BACKOFF_S, KeyedQueue


def queue(random: float = 0.5) -> KeyedQueue[str]:
    return KeyedQueue(lambda: random)


def drained(q: KeyedQueue[str], now_s: float) -> list[str]:
    keys = []
    while (key := q.take(now_s)) is not None:
        keys.append(key)
    return keys


def test_a_key_that_is_added_twice_is_taken_once() -> None:
    q = queue()
    q.add("a", 0)
    q.add("a", 0)
    assert drained(q, 0) == ["a"]


def test_keys_are_taken_in_the_order_in_which_they_are_due() -> None:
    q = queue()
    q.add("late", 0, delay_s=2)
    q.add("soon", 0, delay_s=1)
    assert drained(q, 3) == ["soon", "late"]


def test_a_key_in_work_is_given_to_nobody_else_and_looked_at_again_when_it_was_touched() -> None:
    q = queue()
    q.add("a", 0)
    assert q.take(0) == "a"
    q.add("a", 0)
    assert q.take(0) is None
    q.done("a", 1)
    assert q.take(1) == "a"
    q.done("a", 2)
    assert q.take(2) is None


def test_the_earliest_wish_wins() -> None:
    q = queue()
    q.add("a", 0, delay_s=100)
    q.add("a", 0, delay_s=5)
    q.add("a", 0, delay_s=50)
    assert (q.take(4.9), q.take(5)) == (None, "a")
    q.done("a", 5)
    assert q.next_due_s(5) is None


def test_a_failing_key_waits_longer_each_time_up_to_five_minutes() -> None:
    q = queue(random=0.999999)
    q.add("a", 0)
    now_s, delays = 0.0, []
    for _ in range(12):
        assert q.take(now_s) == "a"
        delay_s = q.failed("a", now_s)
        assert q.take(now_s + delay_s - 0.01) is None
        delays.append(round(delay_s))
        now_s += delay_s
    assert delays == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]


@pytest.mark.parametrize(("random", "expected"), [(0.0, 1.0), (0.5, 150.5), (0.999, 299.701)])
def test_the_jitter_spreads_over_the_whole_time(random: float, expected: float) -> None:
    q = queue(random)
    for _ in range(20):
        q.add("a", 10**6)
        q.take(10**6)
        delay_s = q.failed("a", 0)
    assert delay_s == pytest.approx(expected)
    assert delay_s <= MAX_BACKOFF_S


def test_success_ends_the_backoff() -> None:
    q = queue(random=0.9999)
    now_s = 0.0
    for _ in range(6):
        q.add("a", now_s + 1000)
        q.take(now_s + 1000)
        now_s += 1000
        q.failed("a", now_s)
    q.take(now_s + 1000)
    q.done("a", now_s + 1000)
    q.add("a", now_s + 1000)
    q.take(now_s + 1000)
    assert q.failed("a", now_s + 1000) <= 2


def test_an_event_brings_a_failing_key_forward_but_not_within_a_second() -> None:
    q = queue(random=0.9)
    q.add("a", 0)
    for now_s in (0, 400, 800):
        q.take(now_s)
        q.failed("a", now_s)
        q.add("a", now_s + 399)
    q.take(1200)
    assert q.failed("a", 1200) > 10
    q.add("a", 1200.1)
    assert (q.take(1200.9), q.take(1201)) == (None, "a")


def test_a_touched_failing_key_does_not_spin() -> None:
    q = queue(random=0.9)
    q.add("a", 0)
    assert q.take(0) == "a"
    q.add("a", 0)
    assert q.failed("a", 0) == pytest.approx(1.0)
    assert (q.take(0.99), q.take(1.0)) == (None, "a")


def test_a_failing_key_delays_no_other() -> None:
    q = queue()
    q.add("broken", 0)
    assert q.take(0) == "broken"
    q.failed("broken", 0)
    q.add("fine", 0.001)
    assert q.take(0.001) == "fine"


def test_changed_keys_go_before_routine_ones_which_are_not_starved() -> None:
    q = queue()
    for n in range(6):
        q.add(f"routine-{n}", 0, routine=True)
    for n in range(6):
        q.add(f"changed-{n}", 0)
    order = drained(q, 0)
    assert order[:3] == ["changed-0", "changed-1", "changed-2"]
    assert order[3] == "routine-0"
    assert sorted(order) == sorted([f"routine-{n}" for n in range(6)] + [f"changed-{n}" for n in range(6)])


def test_a_routine_key_that_changes_is_taken_earlier() -> None:
    q = queue()
    q.add("a", 0, routine=True)
    q.add("b", 0, routine=True)
    assert q.depth(0) == 2
    q.add("b", 0)
    assert q.take(0) == "b"


def test_a_look_that_is_asked_for_later_is_dropped_by_an_earlier_event() -> None:
    q = queue()
    q.add("a", 0)
    q.take(0)
    q.done("a", 0, again_in_s=600)
    q.add("a", 10)
    assert q.take(10) == "a"
    q.done("a", 10, again_in_s=600)
    assert (q.take(609), q.take(610)) == (None, "a")


def test_a_forgotten_key_leaves_nothing_behind() -> None:
    q = queue()
    q.add("a", 0)
    q.take(0)
    q.failed("a", 0)
    q.take(1000)
    q.forget("a")
    assert "a" not in q
    assert len(q) == 0


def test_a_key_that_is_forgotten_while_it_comes_back_is_looked_at_again() -> None:
    q = queue()
    q.add("a", 0)
    q.take(0)
    q.add("a", 0)
    q.forget("a")
    assert q.take(0) == "a"


def test_depth_and_age_speak_of_what_waits() -> None:
    q = queue()
    q.add("a", 0)
    q.add("b", 5)
    q.add("later", 0, delay_s=100)
    assert (q.depth(10), q.oldest_age_s(10)) == (2, 10)
    q.take(10)
    assert (q.depth(10), q.oldest_age_s(10)) == (1, 5)


def test_overtaken_wishes_do_not_pile_up() -> None:
    q = queue()
    for n in range(10_000):
        q.add("a", 0, delay_s=20_000 - n)
    assert len(q) == 1
    assert len(q._heap) < 100
    assert q.take(10_001) == "a"
