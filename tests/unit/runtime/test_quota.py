"""How many requests a key may make, and how that is told."""

import pytest

from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.core.quota import WINDOW_S, Quota, Quotas


def _use(quota: Quota, now: float, times: int) -> int:
    """How many of so many requests are admitted."""
    admitted = 0
    for _ in range(times):
        if quota.admits(now):
            quota.count()
            admitted += 1
    return admitted


def test_a_key_may_make_its_requests_and_then_waits_for_the_next_window() -> None:
    quota = Quota(3)
    assert _use(quota, 100.0, 5) == 3
    assert not quota.admits(100.0 + WINDOW_S - 0.001)
    assert _use(quota, 100.0 + WINDOW_S, 5) == 3


def test_what_is_left_and_for_how_long_is_told() -> None:
    quota = Quota(3)
    assert _use(quota, 100.0, 1) == 1
    assert quota.fields(100.0) == b'ratelimit-policy: "key";q=3;w=10\r\nratelimit: "key";r=2;t=10\r\n'
    assert quota.headers(104.5) == [(b"ratelimit-policy", b'"key";q=3;w=10'), (b"ratelimit", b'"key";r=2;t=6')]


def test_a_refusal_says_when_to_come_again() -> None:
    quota = Quota(1)
    _use(quota, 50.0, 1)
    refusal = quota.refusal(57.2)
    assert (refusal.kind.status, refusal.kind.slug, refusal.headers) == (429, "quota-exceeded", {"Retry-After": "3"})
    assert refusal.document()["violated-policies"] == ["key"]
    with pytest.raises(ProblemError, match="its 1 requests within 10 s"):
        raise refusal


def test_the_time_that_is_told_is_never_more_than_the_window_nor_less_than_nothing() -> None:
    for start in (0.1, 1e3 / 3, 86_400.7, 1e7 + 0.123456789):
        quota = Quota(5)
        quota.admits(start)
        assert quota.headers(start)[1][1].endswith(b";t=10")
        assert quota.headers(start + 11)[1][1].endswith(b";t=0")


@pytest.mark.parametrize(("new_limit", "left"), [(10, 8), (3, 1), (1, 0)])
def test_another_limit_counts_at_once_and_what_was_used_stays_used(new_limit: int, left: int) -> None:
    quota = Quota(5)
    _use(quota, 1.0, 2)
    quota.set_limit(new_limit)
    assert _use(quota, 1.0, 20) == left


def test_a_key_keeps_its_window_and_the_number_of_windows_is_bounded() -> None:
    quotas = Quotas(2)
    first = quotas.of("key-0")
    assert quotas.of("key-0") is first
    for number in range(1, 10_000):
        quotas.of(f"key-{number}")
    assert quotas.of("key-0") is first
    quotas.of("one more")
    assert quotas.of("key-0") is first
    assert len(quotas._quotas) == 10_000


def test_a_keys_own_limit_goes_before_the_common_one() -> None:
    quotas = Quotas(2)
    assert _use(quotas.of("own", 5), 1.0, 9) == 5
    assert _use(quotas.of("common"), 1.0, 9) == 2
