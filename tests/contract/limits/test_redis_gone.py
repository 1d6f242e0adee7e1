"""What the limiter does while Redis is gone, frozen or refusing; on a server of its own."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.limits.rate import RedisRateLimiter
from gateway.problems import LimiterUnavailableError
from gateway.settings import WhenLimiterFails
from tests.rig.ports import free_port
from tests.rig.redis import RedisServer, own_redis


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_redis() as found:
        yield found


async def test_closed_refuses_until_the_server_is_back(server: RedisServer) -> None:
    failures: list[None] = []
    with capture_logs() as logs:
        limiter = RedisRateLimiter(server.url, 60, 10, on_failure=lambda: failures.append(None), pause_s=0.05)
        assert (await limiter.take("alice")).allowed
        server.stop()
        for _ in range(5):
            with pytest.raises(LimiterUnavailableError) as refused:
                await limiter.take("alice")
            assert refused.value.retry_after == 1
        assert not await limiter.ready()
        server.start()
        await asyncio.sleep(0.06)
        assert (await limiter.take("alice")).allowed
        assert await limiter.ready()
    assert len(failures) == 5
    assert [log["event"] for log in logs] == ["limiter gone", "limiter back"]
    assert logs[0]["setting"] == "closed"
    assert "127.0.0.1" not in str(logs)
    await limiter.aclose()


async def test_a_restart_between_two_takes_is_no_outage(server: RedisServer) -> None:
    limiter = RedisRateLimiter(server.url, 60, 10)
    assert (await limiter.take("alice")).allowed
    server.stop()
    server.start()
    await asyncio.sleep(0.05)
    assert (await limiter.take("alice")).allowed
    await limiter.aclose()


async def test_open_admits_and_says_so_once() -> None:
    failures: list[None] = []
    with capture_logs() as logs:
        limiter = RedisRateLimiter(
            f"redis://127.0.0.1:{free_port()}/0",
            1,
            1,
            when_gone=WhenLimiterFails.OPEN,
            on_failure=lambda: failures.append(None),
        )
        answers = [await limiter.take("alice") for _ in range(5)]
    assert all(answer.allowed for answer in answers)
    assert await limiter.ready()
    assert len(failures) == 5
    assert [log["event"] for log in logs] == ["limiter gone"]
    await limiter.aclose()


async def test_a_frozen_server_costs_at_most_the_timeout_and_then_nothing(server: RedisServer) -> None:
    limiter = RedisRateLimiter(server.url, 60, 10, timeout_s=0.2, pause_s=30)
    assert (await limiter.take("alice")).allowed
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(LimiterUnavailableError):
            await limiter.take("alice")
        first = time.monotonic() - start
        for _ in range(50):
            with pytest.raises(LimiterUnavailableError):
                await limiter.take("alice")
        assert first < 1
        assert time.monotonic() - start - first < 0.2
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    await limiter.aclose()


async def test_a_server_that_refuses_the_password_is_gone(server: RedisServer) -> None:
    admin = Redis.from_url(server.url)
    await admin.config_set("requirepass", "the password")
    await admin.aclose()
    limiter = RedisRateLimiter(server.url.replace("redis://", "redis://:not-the-password@"), 60, 10)
    with capture_logs() as logs, pytest.raises(LimiterUnavailableError):
        await limiter.take("alice")
    assert "not-the-password" not in str(logs)
    await limiter.aclose()
