"""Counters on Redis or Valkey, shared by every gateway that uses the same server. One script is one atomic step."""

import hashlib
from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.identifiers import uuid7
from gateway.problems import LimiterUnavailableError
from gateway.usage.budget import Charge, Counter
from gateway.usage.counters import Exceeded, Held, used_before

KEEP_S = 40 * 86_400
"""A counter outlives its month by some days."""
# ARGV: tokens wanted, least, seconds to keep, a name for what this call makes, then for each key: limit of tokens, of
# turns (-1: none), and what was used before the counter was there (-1: not looked up yet). A counter that is missing
# and not looked up makes nothing happen. `made` tells a counter from the one before it that the server has lost.
HOLD_LUA = """
local wanted, least = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer = {1, 0}
for i, key in ipairs(KEYS) do
  local at = 5 + (i - 1) * 4
  local used = redis.call('HMGET', key, 'tokens', 'turns', 'made')
  if not used[1] then
    if tonumber(ARGV[at + 2]) < 0 then return {-1, i} end
    redis.call('HSET', key, 'tokens', ARGV[at + 2], 'turns', ARGV[at + 3])
    redis.call('EXPIRE', key, ARGV[3])
    used = {ARGV[at + 2], ARGV[at + 3]}
  end
  if not used[3] then
    redis.call('HSET', key, 'made', ARGV[4])
    used[3] = ARGV[4]
  end
  local tokens, turns = tonumber(used[1]), tonumber(used[2])
  local most_tokens, most_turns = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if most_turns >= 0 and turns >= most_turns then return {0, i} end
  if most_tokens >= 0 then
    if most_tokens - tokens < least then return {0, i} end
    wanted = math.min(wanted, most_tokens - tokens)
  end
  answer[#answer + 1] = tokens
  answer[#answer + 1] = turns
  answer[#answer + 1] = used[3]
end
for _, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, 'tokens', string.format('%.0f', wanted))
  redis.call('HINCRBY', key, 'turns', 1)
end
answer[2] = wanted
return answer
"""


# ARGV: tokens held, tokens and turns used, then for each key the making of its counter in which the turn was counted.
# A counter that the server has lost meanwhile is left to the next turn, which begins it with what the database says:
# this turn's usage is in there by then. Where another turn has begun it already, it holds nothing of this one: what was
# used is added, and nothing is given back.
CORRECT_LUA = """
for i, key in ipairs(KEYS) do
  local now = redis.call('HMGET', key, 'tokens', 'turns', 'made')
  if now[1] then
    local tokens, turns = tonumber(now[1]) + tonumber(ARGV[2]), tonumber(now[2]) + tonumber(ARGV[3])
    if now[3] == ARGV[3 + i] then
      tokens, turns = tokens - tonumber(ARGV[1]), turns - 1
    end
    tokens, turns = math.max(0, tokens), math.max(0, turns)
    redis.call('HSET', key, 'tokens', string.format('%.0f', tokens), 'turns', string.format('%.0f', turns))
  end
end
return {}
"""


class RedisCounters:
    """Counters on a server; one that it has lost begins again with what the database says was used."""

    def __init__(self, redis: Redis, engine: AsyncEngine) -> None:
        self._redis = redis
        self._engine = engine

    async def hold(self, charges: tuple[Charge, ...], tokens: int, least: int) -> Held | Exceeded:
        """Count a turn in one atomic step; see `Counters`."""
        before: dict[Counter, tuple[int, int]] = {}
        try:
            for _ in range(len(charges) + 1):
                answer = await self._run(charges, tokens, least, before)
                if answer[0] >= 0:
                    break
                missing = charges[answer[1] - 1].counter
                async with self._engine.connect() as connection:
                    before[missing] = await connection.run_sync(used_before, missing)
        except (RedisError, SQLAlchemyError, OSError):
            raise LimiterUnavailableError(retry_after=1) from None
        if answer[0] == 0:
            return Exceeded(charges[answer[1] - 1])
        if answer[0] < 0:
            raise LimiterUnavailableError(retry_after=1)
        used = tuple(zip(answer[2::3], answer[3::3], strict=True))
        return Held(answer[1], used, tuple(making.decode() for making in answer[4::3]))

    async def correct(self, counters: tuple[Counter, ...], held: Held, tokens: int, turns: int) -> None:
        """Count what a turn used; see `Counters`."""
        arguments: list[int | str] = [held.tokens, tokens, turns, *held.makings]
        try:
            await self._script(CORRECT_LUA, [key_of(counter) for counter in counters], arguments)
        except (RedisError, OSError):
            raise LimiterUnavailableError(retry_after=1) from None

    async def used(self, counters: tuple[Counter, ...]) -> tuple[tuple[int, int], ...]:
        """Return tokens and turns; see `Counters`."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for counter in counters:
                    pipeline.hmget(key_of(counter), ["tokens", "turns"])
                found: list[list[Any]] = await pipeline.execute()
        except (RedisError, OSError):
            raise LimiterUnavailableError(retry_after=1) from None
        return tuple((int(tokens or 0), int(turns or 0)) for tokens, turns in found)

    async def aclose(self) -> None:
        """Close every connection to the server."""
        await self._redis.aclose(close_connection_pool=True)

    async def _run(
        self, charges: tuple[Charge, ...], tokens: int, least: int, before: dict[Counter, tuple[int, int]]
    ) -> list[Any]:
        keys = [key_of(charge.counter) for charge in charges]
        arguments: list[int | str] = [tokens, least, KEEP_S, uuid7()]
        for charge in charges:
            limits = (-1 if limit is None else limit for limit in (charge.tokens, charge.turns))
            arguments += [*limits, *before.get(charge.counter, (-1, -1))]
        return await self._script(HOLD_LUA, keys, arguments)

    async def _script(self, script: str, keys: list[str], arguments: list[int | str]) -> list[Any]:
        """Carry out a script, which the server may know already."""
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            answer = self._redis.evalsha(digest, len(keys), *keys, *arguments)
            return await cast("Awaitable[list[Any]]", answer)
        except NoScriptError:
            again = self._redis.eval(script, len(keys), *keys, *arguments)
            return await cast("Awaitable[list[Any]]", again)


def key_of(counter: Counter) -> str:
    """Return the key of a counter: bounded length, no person's identifier, all on one node of a cluster."""
    name = hashlib.sha256(counter.name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"attest:{{budget}}:{counter.scope}:{name}:{counter.period}"
