"""The bucket's arithmetic and the bound on subjects, by a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.rate import MemoryRateLimiter


class Clock:
    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        return self.us

    def forward(self, seconds: float) -> None:
        self.us += round(seconds * 1_000_000)


async def test_waiting_as_long_as_told_is_enough_and_a_second_less_is_not() -> None:
    clock = Clock()
    limiter = MemoryRateLimiter(7, 3, clock_us=clock)
    for _ in range(3):
        await limiter.take("alice")
    told = (await limiter.take("alice")).retry_after_s
    assert told == 9
    clock.forward(told - 1)
    assert not (await limiter.take("alice")).allowed
    clock.forward(1)
    assert (await limiter.take("alice")).allowed


async def test_a_long_rest_fills_the_bucket_and_no_more() -> None:
    clock = Clock()
    limiter = MemoryRateLimiter(60, 5, clock_us=clock)
    await limiter.take("alice", 5)
    clock.forward(10_000_000)
    assert (await limiter.take("alice")).remaining == 4


async def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    clock = Clock()
    clock.us = 10_000_000
    limiter = MemoryRateLimiter(60, 5, clock_us=clock)
    await limiter.take("alice", 5)
    clock.us = 0
    assert not (await limiter.take("alice")).allowed
    clock.forward(1)
    assert (await limiter.take("alice")).allowed


async def test_the_number_of_subjects_is_bounded() -> None:
    limiter = MemoryRateLimiter(1, 1, most_subjects=10)
    for number in range(100):
        await limiter.take(f"subject {number}")
    assert len(limiter) == 10
    assert not (await limiter.take("subject 99")).allowed
    assert (await limiter.take("subject 0")).allowed


@pytest.mark.parametrize(("per_minute", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_a_bucket_without_rate_or_size_is_a_mistake(per_minute: int, burst: int) -> None:
    with pytest.raises(ValueError, match="bucket"):
        MemoryRateLimiter(per_minute, burst)


@given(
    per_minute=st.integers(1, 100_000),
    burst=st.integers(1, 100_000),
    steps=st.lists(st.tuples(st.integers(0, 120_000_000), st.integers(1, 50)), max_size=60),
)
async def test_never_more_than_the_burst_and_what_time_refilled(
    per_minute: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    clock = Clock()
    limiter = MemoryRateLimiter(per_minute, burst, clock_us=clock)
    taken = 0
    for pause_us, cost in steps:
        clock.us += pause_us
        price = min(cost, burst)
        answer = await limiter.take("alice", price)
        taken += price if answer.allowed else 0
        assert taken * 60_000_000 <= burst * 60_000_000 + clock.us * per_minute
        assert answer.allowed is (answer.retry_after_s == 0)
