"""One limit for all processes: what each knows, decides and tells."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shieldx_runtime.core.quota import WINDOW_S, Quota, Quotas
from shieldx_runtime.core.quota_sharing import Count, Sharing

LIMIT = 10


class Sum:
    """Adds up as Redis does: what is beyond a limit counts in the windows that follow."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.away = False
        self.calls: list[list[str]] = []
        self.used: dict[str, tuple[int, float]] = {}

    async def add(self, counts: Sequence[Count], window_s: int) -> list[tuple[int, float]] | None:
        if self.away:
            return None
        self.calls.append([count[0] for count in counts])
        return [self._one(*count, window_s) for count in counts]

    def _one(self, key_id: str, used: int, limit: int, left_s: float, window_s: int) -> tuple[int, float]:
        before, ends = self.used.get(key_id, (0, 0.0))
        while before and self.now >= ends:
            before, ends = max(0, before - limit), ends + window_s
        ends = ends if before else self.now + left_s
        used += before
        self.used[key_id] = used, ends
        return used, ends - self.now + max(0, used // limit - 1) * window_s


class Process:
    def __init__(self, total: Sum, limit: int | None = LIMIT) -> None:
        self.total = total
        self.limit = limit
        self.quotas = Quotas(1000)
        self.sharing = Sharing(self.quotas, total.add, lambda: total.now)

    def quota(self, key_id: str = "key") -> Quota:
        return self.quotas.of(key_id, self.limit)

    def use(self, times: int, key_id: str = "key") -> int:
        """How many of so many requests are admitted."""
        quota, admitted = self.quota(key_id), 0
        for _ in range(times):
            if quota.admits(self.total.now):
                quota.count()
                admitted += 1
        return admitted


async def exchanged(*processes: Process) -> None:
    # twice: the first hears of the last at the next turn
    for process in processes * 2:
        await process.sharing.exchange()


async def test_what_one_process_has_counted_is_taken_from_the_others() -> None:
    total = Sum()
    one, other = Process(total), Process(total)
    assert (one.use(6), other.use(1)) == (6, 1)
    await exchanged(one, other)
    assert other.quota().headers(total.now)[1][1] == b'"key";r=3;t=10'
    assert other.use(9) == 3
    await exchanged(one, other)
    assert one.use(9) == 0
    total.now += WINDOW_S
    assert one.use(9) == 9


async def test_while_the_others_cannot_be_heard_each_counts_alone() -> None:
    total = Sum()
    one, other = Process(total), Process(total)
    total.away = True
    assert one.use(99) == LIMIT
    await exchanged(one, other)
    assert other.use(99) == LIMIT
    await exchanged(one, other)
    total.now += WINDOW_S
    total.away = False
    assert one.use(6) == 6
    assert other.use(1) == 1
    await exchanged(one, other)
    assert other.use(99) == 3, "what was counted alone is not told late"


async def test_what_went_beyond_the_limit_is_taken_off_the_windows_that_follow() -> None:
    total = Sum()
    processes = [Process(total) for _ in range(3)]
    assert [process.use(99) for process in processes] == [LIMIT] * 3
    await exchanged(*processes)
    total.now += 2 * WINDOW_S
    assert [process.use(99) for process in processes] == [0] * 3
    assert processes[0].quota().refusal(total.now).headers["Retry-After"] == str(WINDOW_S)
    total.now += WINDOW_S
    assert processes[0].use(99) == LIMIT


async def test_news_of_a_window_that_is_over_changes_nothing() -> None:
    total = Sum()
    quota = Process(total).quota()
    quota.admits(total.now)
    _, window = quota.tell()
    total.now += WINDOW_S
    assert quota.admits(total.now)
    quota.hear(window, LIMIT, 5.0, total.now)
    assert quota.admits(total.now)


async def test_a_key_without_a_limit_of_its_own_is_told_to_nobody() -> None:
    total = Sum()
    process = Process(total, limit=None)
    process.use(5)
    await exchanged(process)
    assert total.calls == []


async def test_another_limit_counts_at_once_for_what_all_have_used() -> None:
    total = Sum()
    one, other = Process(total), Process(total)
    one.use(6), other.use(1)
    await exchanged(one, other)
    for process in (one, other):
        process.limit = LIMIT + 2
    assert one.use(2) == 2
    await exchanged(one, other)
    assert other.use(99) == 3
    other.limit = 1
    assert other.use(99) == 0


async def test_many_keys_are_told_some_at_a_time_and_none_is_passed_over() -> None:
    total = Sum()
    process = Process(total)
    for number in range(1200):
        process.use(1, f"key-{number}")
    for _ in range(3):
        await process.sharing.exchange()
    assert [len(call) for call in total.calls] == [512] * 3
    assert {key for call in total.calls for key in call} == {f"key-{number}" for number in range(1200)}
    total.now += WINDOW_S
    await process.sharing.exchange()
    assert len(total.calls) == 3
    assert process.quotas.shared == {}


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 15), st.floats(0.0, 4.0), st.booleans()), max_size=60)
)
async def test_over_time_no_more_goes_through_than_the_limit_and_what_was_not_known_yet(
    steps: list[tuple[int, int, float, bool]],
) -> None:
    total = Sum()
    processes = [Process(total) for _ in range(3)]
    began, admitted = total.now, 0
    for which, times, pause_s, tells in steps:
        admitted += processes[which].use(times)
        if tells:
            await exchanged(*processes)
        total.now += pause_s
    windows = 1 + int((total.now - began) // WINDOW_S)
    assert admitted <= len(processes) * LIMIT * windows
    await exchanged(*processes)
    for process in processes:
        assert 0 <= process.quota()._left <= LIMIT
