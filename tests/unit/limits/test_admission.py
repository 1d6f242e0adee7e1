"""The whole of admission: which error, in which order, and what is counted."""

import asyncio

import pytest

from gateway.auth.principal import Principal, Role
from gateway.limits.admission import Admission, Refusal, refusal_of
from gateway.limits.gate import ConcurrencyGate
from gateway.limits.rate import MemoryRateLimiter, RedisRateLimiter
from gateway.problems import (
    BadRequestError,
    ForbiddenError,
    LimiterUnavailableError,
    OverloadedError,
    RateLimitedError,
)
from gateway.settings import load


def person(subject: str = "alice") -> Principal:
    return Principal(subject=subject, name=subject.title(), groups=("staff",), roles=frozenset({Role.STAFF}))


async def test_a_turn_holds_its_place_only_as_long_as_it_runs() -> None:
    admission = Admission(MemoryRateLimiter(60, 10), ConcurrencyGate(1, 0, 1))
    async with admission.admit(person()):
        assert admission.running == 1
    assert (admission.running, admission.queued) == (0, 0)


async def test_over_the_rate_is_429_with_the_wait() -> None:
    refused: list[str] = []
    admission = Admission(MemoryRateLimiter(60, 1), ConcurrencyGate(4, 0, 1), on_refused=refused.append)
    async with admission.admit(person()):
        pass
    with pytest.raises(RateLimitedError) as error:
        async with admission.admit(person()):
            pytest.fail("it was over the rate")
    assert error.value.retry_after == 1
    assert refused == ["rate_limited"]
    async with admission.admit(person("bob")):
        pass


async def test_one_subject_over_the_rate_takes_no_place_in_the_queue() -> None:
    admission = Admission(MemoryRateLimiter(1, 1), ConcurrencyGate(1, 1, 5))
    async with admission.admit(person()):
        for _ in range(5):
            with pytest.raises(RateLimitedError):
                async with admission.admit(person()):
                    pytest.fail("it was over the rate")
        assert admission.queued == 0


async def test_no_place_is_503() -> None:
    refused: list[str] = []
    admission = Admission(MemoryRateLimiter(60, 10), ConcurrencyGate(1, 0, 1), on_refused=refused.append)
    async with admission.admit(person()):
        with pytest.raises(OverloadedError) as error:
            async with admission.admit(person()):
                pytest.fail("there was no place")
    assert error.value.retry_after == 1
    assert refused == ["overloaded"]
    assert admission.running == 0


async def test_an_error_of_the_turn_itself_is_no_refusal() -> None:
    refused: list[str] = []
    admission = Admission(MemoryRateLimiter(60, 10), ConcurrencyGate(1, 0, 1), on_refused=refused.append)
    with pytest.raises(OverloadedError):
        async with admission.admit(person()):
            raise OverloadedError
    assert refused == []
    assert admission.running == 0


async def test_a_cancelled_turn_frees_its_place() -> None:
    admission = Admission(MemoryRateLimiter(60, 10), ConcurrencyGate(1, 0, 1))

    async def turn() -> None:
        async with admission.admit(person()):
            await asyncio.sleep(60)

    task = asyncio.create_task(turn())
    await asyncio.sleep(0)
    assert admission.running == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert admission.running == 0


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (RateLimitedError(), Refusal.RATE_LIMITED),
        (OverloadedError(), Refusal.OVERLOADED),
        (LimiterUnavailableError(), Refusal.LIMITER_UNAVAILABLE),
        (BadRequestError(), None),
        (ForbiddenError(), None),
    ],
)
def test_each_refusal_has_a_name(error: BadRequestError, refusal: Refusal | None) -> None:
    assert refusal_of(error) is refusal


@pytest.mark.parametrize(("url", "kind"), [("", MemoryRateLimiter), ("redis://127.0.0.1:1/0", RedisRateLimiter)])
async def test_settings_choose_the_limiter(url: str, kind: type) -> None:
    admission = Admission.from_settings(load(redis_url=url))
    assert type(admission._limiter) is kind
    await admission.aclose()
