"""The three states of a circuit breaker, by a clock of our own."""

import pytest

from shieldx_runtime.core.breaker import Breaker, State
from shieldx_runtime.core.metrics import Metrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("postgresql", threshold=3, open_s=1.0, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.failed()


def test_it_is_closed_at_first_and_lets_everything_through(breaker: Breaker) -> None:
    assert breaker.state is State.CLOSED
    assert all(breaker.admit() for _ in range(10))


def test_fewer_failures_in_a_row_than_the_threshold_leave_it_closed(breaker: Breaker) -> None:
    for _ in range(5):
        fail(breaker, 2)
        breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_as_many_failures_in_a_row_as_the_threshold_open_it(breaker: Breaker) -> None:
    fail(breaker, 3)
    assert breaker.state is State.OPEN


def test_while_it_is_open_nothing_goes_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 0.79
    assert not any(breaker.admit() for _ in range(10))


def test_after_its_time_it_is_half_open(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.21
    assert breaker.state is State.HALF_OPEN


def test_half_open_lets_one_call_through_at_a_time(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.21
    assert [breaker.admit() for _ in range(4)] == [True, False, False, False]


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.21
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    fail(breaker, 2)
    assert breaker.state is State.CLOSED


def test_a_probe_that_fails_opens_it_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.21
    fail(breaker, 1)
    assert breaker.state is State.OPEN
    clock.now += 1.21
    assert breaker.admit()


def test_a_probe_that_never_comes_back_does_not_keep_it_half_open_for_ever(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1.21
    assert breaker.admit()
    clock.now += 10.1
    assert breaker.admit()


def test_a_late_success_of_a_call_from_before_closes_it(breaker: Breaker) -> None:
    fail(breaker, 3)
    breaker.succeeded()
    assert breaker.admit()


def test_a_reset_closes_it_at_once(breaker: Breaker) -> None:
    fail(breaker, 3)
    breaker.reset()
    assert breaker.state is State.CLOSED
    assert breaker.admit()


def test_its_state_is_a_metric(breaker: Breaker, clock: Clock) -> None:
    metrics = Metrics()
    metrics.watch(breaker)

    def told() -> str:
        return next(line for line in metrics.exposition()[0].decode().splitlines() if "breaker_state{" in line)

    assert told() == 'credits_circuit_breaker_state{dependency="postgresql"} 0.0'
    fail(breaker, 3)
    assert told().endswith(" 2.0")
    clock.now += 1.21
    assert told().endswith(" 1.0")
