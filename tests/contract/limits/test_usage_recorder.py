"""Usage is written by itself, and once: whatever a gateway is doing when it ends."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import make_engine
from gateway.usage import recorder, tables
from gateway.usage.recorder import UsageRecorder
from tests.rig.databases import migrated

NAMES = (("person", "alice"), ("group", "trading"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with migrated(request, request.param, tmp_path) as url:
        yield url


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    made = make_engine(database)
    yield made
    await made.dispose()


async def _turns(engine: AsyncEngine) -> list[tuple[str, int, int]]:
    table = tables.usage.c
    query = sa.select(table.name, table.turns, table.prompt_tokens).order_by(table.name)
    async with engine.connect() as connection:
        return [(row.name, row.turns, row.prompt_tokens) for row in await connection.execute(query)]


async def test_turns_of_a_day_add_up(engine: AsyncEngine) -> None:
    usage = UsageRecorder(engine)
    for _ in range(2):
        for _ in range(3):
            usage.note("2026-11-28", NAMES, 10, 20)
        await usage.write()
    await usage.aclose()
    assert await _turns(engine) == [("alice", 6, 60), ("trading", 6, 60)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_who_closes_while_it_writes_loses_and_doubles_nothing(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "WRITE_EVERY_S", 0.01)
    usage = UsageRecorder(engine)
    with contextlib.closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        usage.note("2026-11-28", NAMES, 10, 20)
        await asyncio.sleep(0.3)  # the write waits for the lock
        closing = asyncio.create_task(usage.aclose())
        await asyncio.sleep(0.1)
        usage.note("2026-11-28", NAMES, 1, 2)
        other.execute("ROLLBACK")
        await closing
    assert await _turns(engine) == [("alice", 2, 11), ("trading", 2, 11)]
