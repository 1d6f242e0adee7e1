"""Budgets are exact: every adapter through the same tests, many turns at once, and several processes."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import make_engine
from gateway.limits.rate import redis_client
from gateway.usage import counters, tables
from gateway.usage.budget import Charge, Counter
from gateway.usage.counters import Counters, Exceeded, Held, SqlCounters
from gateway.usage.redis_counters import RedisCounters, key_of
from tests.rig.databases import migrated
from tests.rig.redis import redis_url

DAY, MONTH = Counter("person", "alice", "2026-11-28"), Counter("group", "trading", "2026-11")
ROOT = Path(__file__).parents[3]
PROCESS = """
import asyncio, sys
from gateway.database import make_engine
from gateway.limits.rate import redis_client
from gateway.usage.budget import Charge, Counter
from gateway.usage.counters import Held, SqlCounters
from gateway.usage.redis_counters import RedisCounters

async def main(database, redis):
    engine = make_engine(database)
    counters = RedisCounters(redis_client(redis, timeout_s=60), engine) if redis else SqlCounters(engine)
    charges = tuple(Charge(Counter(*name), 10_000, 150) for name in (
        ("group", "trading", "2026-11"), ("person", "alice", "2026-11-28")))

    async def turn(number):
        answer = await counters.hold(charges, 100, 40)
        if isinstance(answer, Held):
            await counters.correct(tuple(charge.counter for charge in charges), answer, 60, 1)
        return isinstance(answer, Held)

    done = 0
    for _ in range(10):
        done += sum(await asyncio.gather(*(turn(number) for number in range(12))))
    await counters.aclose()
    await engine.dispose()
    print(done)

asyncio.run(main(*sys.argv[1:3]))
"""


@pytest.fixture(scope="module")
def redis_server() -> Iterator[str]:
    with redis_url() as url:
        yield url


class Rig:
    def __init__(self, database: str, redis: str) -> None:
        self.database, self.redis = database, redis
        self.engine: AsyncEngine = make_engine(database)
        self.counters: Counters = (
            RedisCounters(redis_client(redis, timeout_s=60), self.engine) if redis else SqlCounters(self.engine)
        )


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Addresses of a database and, where counters are there, of a Redis."""
    with migrated(request, "postgresql" if request.param == "postgresql" else "sqlite", tmp_path) as url:
        yield url, request.getfixturevalue("redis_server") if request.param == "redis" else ""


async def emptied(redis: str) -> None:
    client = redis_client(redis)
    await client.flushdb()
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def rig(place: tuple[str, str]) -> AsyncIterator[Rig]:
    database, redis = place
    if redis:
        await emptied(redis)
    made = Rig(database, redis)
    yield made
    await made.counters.aclose()
    await made.engine.dispose()


def charges(tokens: int | None = 1000, turns: int | None = None) -> tuple[Charge, ...]:
    return (Charge(MONTH, None, 100), Charge(DAY, tokens, turns))


async def hold(rig: Rig, wanted: tuple[Charge, ...], tokens: int, least: int) -> Held:
    answer = await rig.counters.hold(wanted, tokens, least)
    assert isinstance(answer, Held)
    return answer


async def test_a_limit_is_never_passed(rig: Rig) -> None:
    first = await hold(rig, charges(), 700, 50)
    assert (first.tokens, first.used) == (700, ((0, 0), (0, 0)))
    second = await hold(rig, charges(), 700, 50)
    assert (second.tokens, second.used) == (300, ((700, 1), (700, 1))), "the answer is shortened to what is left"
    third = await rig.counters.hold(charges(), 700, 50)
    assert third == Exceeded(charges()[1])
    await rig.counters.correct((MONTH, DAY), first, 200, 1)
    assert await rig.counters.used((DAY, MONTH)) == ((500, 2), (500, 2))
    assert isinstance(await rig.counters.hold(charges(), 700, 500), Held)
    assert isinstance(await rig.counters.hold(charges(), 700, 1), Exceeded)


async def test_turns_are_counted_whatever_they_use(rig: Rig) -> None:
    for _ in range(3):
        assert isinstance(await rig.counters.hold(charges(None, 3), 10, 10), Held)
    refused = await rig.counters.hold(charges(None, 3), 10, 10)
    assert refused == Exceeded(charges(None, 3)[1])
    assert (await rig.counters.used((MONTH,)))[0][1] == 3, "a refused turn counts nowhere"


async def test_many_at_once_are_exact(rig: Rig) -> None:
    answers = await asyncio.gather(*(rig.counters.hold(charges(1000), 37, 37) for _ in range(40)))
    assert sum(isinstance(answer, Held) for answer in answers) == 27
    assert (await rig.counters.used((DAY,)))[0] == (27 * 37, 27)


async def test_what_was_used_before_there_was_a_budget_counts(rig: Rig) -> None:
    rows = [("2026-11-27", 500), ("2026-11-28", 80), ("2026-10-31", 9999)]
    async with rig.engine.begin() as connection:
        for day, tokens in rows:
            values = {"day": day, "scope": "person", "name": "alice", "turns": 2}
            await connection.execute(
                sa.insert(tables.usage).values(**values, prompt_tokens=tokens, completion_tokens=1)
            )
    month = Counter("person", "alice", "2026-11")
    wanted = tuple(Charge(counter, 10_000, None) for counter in (month, DAY))
    held = await hold(rig, wanted, 10, 1)
    assert (held.tokens, held.used) == (10, ((582, 4), (81, 2)))


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)  # on Redis each is one step by itself
async def test_a_correction_whose_time_comes_while_another_runs_is_made_all_the_same(rig: Rig, monkeypatch) -> None:
    running, go_on = threading.Event(), threading.Event()
    carry_out = counters._carry_out

    def held_up(connection: sa.Connection, batch: list) -> list:
        running.set()
        assert go_on.wait(20)
        return carry_out(connection, batch)

    answer = await rig.counters.hold(charges(), 600, 50)
    assert isinstance(answer, Held)
    monkeypatch.setattr(counters, "_carry_out", held_up)
    other = asyncio.create_task(rig.counters.hold(charges(), 10, 10))
    loop_goes_on = rig.engine.dialect.name == "sqlite"  # there the work has a thread of its own
    if loop_goes_on:
        await asyncio.to_thread(running.wait)
    correction = asyncio.create_task(rig.counters.correct((MONTH, DAY), answer, 20, 1))
    await asyncio.sleep(3 * counters.LINGER_S if loop_goes_on else 0)
    go_on.set()
    await other
    async with asyncio.timeout(20):
        await correction
    assert await rig.counters.used((DAY,)) == ((30, 2),)


async def test_a_counter_that_redis_lost_begins_with_what_was_used(redis_server: str, tmp_path: Path, request) -> None:
    """Not with what a turn that ran meanwhile gives back."""
    with migrated(request, "sqlite", tmp_path) as url:
        rig = Rig(url, redis_server)
        client = redis_client(redis_server)
        await client.flushdb()
        held = await hold(rig, charges(), 600, 50)
        await client.flushdb()
        await rig.counters.correct((MONTH, DAY), held, 20, 1)
        values = {"day": "2026-11-28", "scope": "person", "name": "alice", "turns": 40}
        async with rig.engine.begin() as connection:
            spent = sa.insert(tables.usage).values(**values, prompt_tokens=990, completion_tokens=0)
            await connection.execute(spent)
        assert await rig.counters.hold(charges(), 600, 50) == Exceeded(charges()[1])
        await client.aclose(close_connection_pool=True)
        await rig.counters.aclose()
        await rig.engine.dispose()


async def test_a_turn_that_did_not_begin_counts_nowhere(rig: Rig) -> None:
    held = await hold(rig, charges(), 600, 50)
    await rig.counters.correct((MONTH, DAY), held, 0, 0)
    assert await rig.counters.used((MONTH, DAY)) == ((0, 0), (0, 0))


@pytest.mark.parametrize("place", ["redis"], indirect=True)
async def test_a_turn_that_redis_forgot_gives_nothing_back_of_what_others_hold(rig: Rig) -> None:
    forgotten = await hold(rig, charges(10_000), 4000, 50), await hold(rig, charges(10_000), 2000, 50)
    await emptied(rig.redis)
    later = await hold(rig, charges(10_000), 4000, 50)
    await rig.counters.correct((MONTH, DAY), forgotten[0], 300, 1)
    assert await rig.counters.used((MONTH, DAY)) == ((4300, 2), (4300, 2)), "the database has no usage of it yet"
    await rig.counters.correct((MONTH, DAY), forgotten[1], 0, 0)
    await rig.counters.correct((MONTH, DAY), later, 200, 1)
    assert await rig.counters.used((MONTH, DAY)) == ((500, 2), (500, 2))


@pytest.mark.parametrize("place", ["redis"], indirect=True)
async def test_a_counter_without_a_making_gets_one(rig: Rig) -> None:
    """As another release makes them, and goes on counting in them."""
    client = redis_client(rig.redis)
    await client.hset(key_of(DAY), mapping={"tokens": 50, "turns": 2})
    held = await hold(rig, charges(10_000), 4000, 50)
    await client.hincrby(key_of(DAY), "tokens", -45)
    await rig.counters.correct((MONTH, DAY), held, 0, 1)
    assert await rig.counters.used((DAY,)) == ((5, 3),)
    await client.aclose(close_connection_pool=True)


async def test_several_processes_are_exact(rig: Rig) -> None:
    arguments = [sys.executable, "-c", PROCESS, rig.engine.url.render_as_string(hide_password=False), rig.redis]
    running = [
        await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE) for _ in range(3)
    ]
    done = [int((await process.communicate())[0]) for process in running]
    assert sum(done) == 150, "the limit of turns, neither more nor less"
    assert await rig.counters.used((DAY, MONTH)) == ((150 * 60, 150), (150 * 60, 150))
