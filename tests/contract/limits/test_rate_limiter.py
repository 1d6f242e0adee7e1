"""Every rate limiter, the same promises: in memory and on a real Redis."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.asyncio import Redis

from gateway.limits.rate import TAKE_LUA, MemoryRateLimiter, RateLimiter, RedisRateLimiter
from tests.rig.redis import redis_url

Make = Callable[[int, int], RateLimiter]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_url() as found:
        yield found


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    made: list[RateLimiter] = []

    def build(per_minute: int, burst: int) -> RateLimiter:
        if request.param == "memory":
            limiter: RateLimiter = MemoryRateLimiter(per_minute, burst)
        else:
            limiter = RedisRateLimiter(request.getfixturevalue("url"), per_minute, burst)
        made.append(limiter)
        return limiter

    yield build
    for limiter in made:
        await limiter.aclose()


@pytest.fixture
def subject() -> str:
    return f"somebody {uuid.uuid4()}"


async def test_a_rested_subject_may_use_the_whole_burst_and_no_more(make: Make, subject: str) -> None:
    limiter = make(1, 5)
    remaining = [(await limiter.take(subject)).remaining for _ in range(5)]
    assert remaining == [4, 3, 2, 1, 0]
    refused = await limiter.take(subject)
    assert not refused.allowed
    assert 59 <= refused.retry_after_s <= 60
    assert refused.remaining == 0


async def test_sixty_four_concurrent_takes_never_share_a_token(make: Make, subject: str) -> None:
    limiter = make(1, 40)
    answers = await asyncio.gather(*(limiter.take(subject) for _ in range(64)))
    assert sum(answer.allowed for answer in answers) == 40
    assert sorted(answer.remaining for answer in answers if answer.allowed) == list(range(40))


async def test_two_limiters_on_one_server_share_the_bucket(url: str, subject: str) -> None:
    one, other = RedisRateLimiter(url, 1, 40), RedisRateLimiter(url, 1, 40)
    answers = await asyncio.gather(*(limiter.take(subject) for limiter in (one, other) for _ in range(32)))
    assert sum(answer.allowed for answer in answers) == 40
    await one.aclose()
    await other.aclose()


async def test_tokens_come_back_evenly(make: Make, subject: str) -> None:
    limiter = make(600, 2)
    assert [(await limiter.take(subject)).allowed for _ in range(3)] == [True, True, False]
    await asyncio.sleep(0.12)
    assert [(await limiter.take(subject)).allowed for _ in range(2)] == [True, False]


async def test_subjects_do_not_share_a_bucket(make: Make, subject: str) -> None:
    limiter = make(1, 1)
    assert (await limiter.take(subject)).allowed
    assert (await limiter.take(subject + "'s colleague")).allowed
    assert not (await limiter.take(subject)).allowed


async def test_a_cost_is_taken_whole_or_not_at_all(make: Make, subject: str) -> None:
    limiter = make(60, 10)
    assert (await limiter.take(subject, 7)).remaining == 3
    refused = await limiter.take(subject, 5)
    assert (refused.allowed, refused.retry_after_s) == (False, 2)
    assert (await limiter.take(subject, 3)).allowed


@pytest.mark.parametrize("cost", [0, -1, 11])
async def test_a_cost_that_no_bucket_holds_is_a_mistake(make: Make, subject: str, cost: int) -> None:
    with pytest.raises(ValueError, match="cost"):
        await make(60, 10).take(subject, cost)


@pytest.mark.parametrize("name", ["", "张三", "a" * 100_000, "nul\0", "lone \ud800", "line\r\nbreak"])
async def test_any_text_is_a_subject(make: Make, subject: str, name: str) -> None:
    limiter = make(1, 1)
    assert (await limiter.take(subject + name)).allowed
    assert not (await limiter.take(subject + name)).allowed


async def test_the_largest_bucket_is_exact(make: Make, subject: str) -> None:
    limiter = make(1, 100_000)
    assert (await limiter.take(subject)).remaining == 99_999
    assert (await limiter.take(subject, 99_998)).remaining == 1


async def test_it_is_ready(make: Make) -> None:
    assert await make(1, 1).ready()


async def test_a_server_that_forgot_the_script_is_told_again(url: str, subject: str) -> None:
    limiter, admin = RedisRateLimiter(url, 1, 2), Redis.from_url(url)
    assert (await limiter.take(subject)).remaining == 1
    await admin.script_flush()
    assert (await limiter.take(subject)).remaining == 0
    assert await admin.script_exists(hashlib.sha1(TAKE_LUA.encode(), usedforsecurity=False).hexdigest()) == [True]
    await limiter.aclose()
    await admin.aclose()


async def test_a_bucket_expires_once_it_would_be_full(url: str, subject: str) -> None:
    limiter, admin = RedisRateLimiter(url, 60, 10), Redis.from_url(url)
    before = set(await admin.keys("attest:rate:*"))
    await limiter.take(subject, 5)
    (key,) = set(await admin.keys("attest:rate:*")) - before
    assert subject.encode() not in key
    assert 5_500 <= await admin.pttl(key) <= 6_000
    await limiter.aclose()
    await admin.aclose()


async def test_a_cancelled_take_leaves_no_answer_for_the_next(url: str, subject: str) -> None:
    limiter = RedisRateLimiter(url, 1, 1_000, connections=4)
    for _ in range(20):
        tasks = [asyncio.create_task(limiter.take(subject + "cancelled")) for _ in range(8)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        other = await limiter.take(subject, 1)
    assert other.remaining == 1_000 - 20
    await limiter.aclose()
