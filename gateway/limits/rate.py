"""How many turns one subject may start: a token bucket, in this process or shared on Redis.

A bucket holds at most `burst` tokens and refills evenly with `per_minute` tokens a minute; a turn takes one. Levels are
integers in parts of a token (60,000,000 parts, so that one microsecond adds exactly `per_minute` parts): neither
adapter ever rounds, and the largest bucket (100,000 tokens) stays within the 2^53 that Lua's numbers hold exactly.
"""

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.problems import LimiterUnavailableError
from gateway.settings import WhenLimiterFails

PARTS = 60_000_000
"""Parts of one token; one microsecond adds `per_minute` of them."""
MOST_SUBJECTS = 100_000
"""Buckets that one process keeps."""
CONNECTIONS = 8
"""Connections to Redis of one client. A take is one short step there, so more give no more takes (6,300 to 6,900 a
second with 4, 8, 16 and 32); but a first crowd of turns opens all of them, within its time limit: 64 turns wait 18 ms
instead of 45."""


class Admission(msgspec.Struct, frozen=True):
    """The limiter's answer for one turn."""

    allowed: bool
    retry_after_s: int
    """Whole seconds until the cost would be there; 0 when allowed."""
    remaining: int
    """Whole tokens left; 0 while the limiter is gone and the setting admits."""


class RateLimiter(Protocol):
    """Takes tokens from a subject's bucket."""

    async def take(self, subject: str, cost: int = 1) -> Admission:
        """Take `cost` tokens at once, or none. Raises `LimiterUnavailableError` when that cannot be decided.

        `cost` lies between 1 and the burst; anything else is a `ValueError`.
        """

    async def ready(self) -> bool:
        """Whether `take` would answer now."""

    async def aclose(self) -> None:
        """Give back connections."""


class Bucket(msgspec.Struct, frozen=True):
    """Size and refill of every bucket."""

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_minute < 1 or self.burst < 1:
            raise ValueError("a bucket needs a rate and a size of at least 1")

    @property
    def full(self) -> int:
        """Parts in a full bucket."""
        return self.burst * PARTS

    def price(self, cost: int) -> int:
        """Parts that `cost` tokens need; `ValueError` when no bucket can ever hold them."""
        if not 1 <= cost <= self.burst:
            raise ValueError(f"cost must lie between 1 and the burst of {self.burst}")
        return cost * PARTS

    def answer(self, *, allowed: bool, level: int, price: int) -> Admission:
        """Put a level, after taking, into the limiter's answer."""
        missing = 0 if allowed else price - level
        wait_us = -(-missing // self.per_minute)
        return Admission(allowed=allowed, retry_after_s=math.ceil(wait_us / 1_000_000), remaining=level // PARTS)


class MemoryRateLimiter:
    """Buckets in this process; exact for one gateway.

    At most `most_subjects` buckets are kept. The one unused for longest gives way, and its subject starts anew with a
    full bucket; subjects are authenticated, so nobody can make them up to push others out.
    """

    def __init__(
        self,
        per_minute: int,
        burst: int,
        *,
        clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
        most_subjects: int = MOST_SUBJECTS,
    ) -> None:
        self._bucket = Bucket(per_minute, burst)
        self._clock_us = clock_us
        self._most_subjects = most_subjects
        self._levels: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        """Buckets that are kept now."""
        return len(self._levels)

    async def take(self, subject: str, cost: int = 1) -> Admission:
        """Take tokens; nothing is awaited in between, so concurrent takes cannot see the same tokens."""
        price = self._bucket.price(cost)
        now = self._clock_us()
        level, since = self._levels.get(subject, (self._bucket.full, now))
        level = min(self._bucket.full, level + max(0, now - since) * self._bucket.per_minute)
        allowed = level >= price
        if allowed:
            level -= price
        self._levels[subject] = (level, now)
        self._levels.move_to_end(subject)
        if len(self._levels) > self._most_subjects:
            self._levels.popitem(last=False)
        return self._bucket.answer(allowed=allowed, level=level, price=price)

    async def ready(self) -> bool:
        """Memory always answers."""
        return True

    async def aclose(self) -> None:
        """Nothing to give back."""


# One script is one atomic step of the server, and TIME is the server's: gateways need no common clock. A subject
# without a hash has a full bucket, so the hash may expire as soon as it would be full again.
TAKE_LUA = """
local full, per_minute, price = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(kept[1] or full), tonumber(kept[2] or now)
level = math.min(full, level + math.max(0, now - at) * per_minute)
local allowed = 0
if level >= price then
  allowed = 1
  level = level - price
end
redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((full - level) / per_minute / 1000) + 1000)
return {allowed, string.format('%.0f', level)}
"""


class RedisRateLimiter:
    """Buckets on Redis or Valkey, shared by every gateway that uses the same server.

    While the server is gone every take either raises `LimiterUnavailableError` (`closed`) or is admitted (`open`).
    An outage is logged once at its start and once at its end; `on_failure` is called for every take it touched. After a
    failure the server is left alone for `pause_s`, so that requests do not pile up on connection timeouts.
    """

    def __init__(
        self,
        url: str,
        per_minute: int,
        burst: int,
        *,
        when_gone: WhenLimiterFails = WhenLimiterFails.CLOSED,
        on_failure: Callable[[], None] = lambda: None,
        timeout_s: float = 0.5,
        pause_s: float = 0.25,
        connections: int = CONNECTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = Bucket(per_minute, burst)
        self._when_gone = when_gone
        self._on_failure = on_failure
        self._pause_s = pause_s
        self._clock = clock
        self._outage_since: float | None = None
        self._paused_until = -math.inf
        self._log = structlog.get_logger("attest.limits")
        self._sha = hashlib.sha1(TAKE_LUA.encode(), usedforsecurity=False).hexdigest()
        self._redis: Redis = redis_client(url, timeout_s=timeout_s, connections=connections)
        self._under_way: set[asyncio.Task[tuple[int, bytes]]] = set()

    async def take(self, subject: str, cost: int = 1) -> Admission:
        """Take tokens in one atomic step on the server."""
        price = self._bucket.price(cost)
        if self._clock() < self._paused_until:
            return self._gone()
        try:
            allowed, level = await self._finish(_key(subject), price)
        except (RedisError, OSError) as error:
            self._note_failure(error)
            return self._gone()
        self._note_success()
        return self._bucket.answer(allowed=bool(allowed), level=int(level), price=price)

    async def _finish(self, key: str, price: int) -> tuple[int, bytes]:
        """Run the script to its end even when the caller is cancelled.

        A command cut short can leave redis-py's pool a connection short, or its answer to the next caller.
        """
        task = asyncio.create_task(self._run(key, price))
        self._under_way.add(task)
        task.add_done_callback(self._settle)
        return await asyncio.shield(task)

    def _settle(self, task: asyncio.Task[tuple[int, bytes]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()

    async def _run(self, key: str, price: int) -> tuple[int, bytes]:
        arguments = (self._bucket.full, self._bucket.per_minute, price)
        try:
            answer = await cast("Awaitable[list[object]]", self._redis.evalsha(self._sha, 1, key, *arguments))
        except NoScriptError:
            answer = await cast("Awaitable[list[object]]", self._redis.eval(TAKE_LUA, 1, key, *arguments))
        return cast("tuple[int, bytes]", tuple(answer))

    async def ready(self) -> bool:
        """Whether a take would be decided or admitted now."""
        if self._when_gone is WhenLimiterFails.OPEN:
            return True
        try:
            await self._redis.ping()
        except (RedisError, OSError):
            return False
        return True

    async def aclose(self) -> None:
        """Close every connection to the server, after the takes under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    def _gone(self) -> Admission:
        self._on_failure()
        if self._when_gone is WhenLimiterFails.CLOSED:
            raise LimiterUnavailableError(retry_after=1)
        return Admission(allowed=True, retry_after_s=0, remaining=0)

    def _note_failure(self, error: Exception) -> None:
        now = self._clock()
        self._paused_until = now + self._pause_s
        if self._outage_since is None:
            self._outage_since = now
            self._log.error("limiter gone", error=type(error).__name__, setting=self._when_gone.value)

    def _note_success(self) -> None:
        if self._outage_since is not None:
            self._log.warning("limiter back", seconds=round(self._clock() - self._outage_since, 1))
            self._outage_since = None


def redis_client(url: str, *, timeout_s: float = 0.5, connections: int = CONNECTIONS) -> Redis:
    """Return a client that fails soon and never sends a command twice."""
    # No retry: what was carried out but whose answer got lost must not be carried out twice.
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        # With these notifications (on by default) redis-py hands out connections that the server has closed.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return Redis(connection_pool=pool)


def _key(subject: str) -> str:
    """Name of a subject's bucket: bounded length, and no person's identifier on the server."""
    return "attest:rate:" + hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
