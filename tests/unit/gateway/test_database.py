"""Transactions on SQLite that the event loop does not hold up."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import database
from gateway.database import make_engine, transact


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = make_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    async with made.begin() as connection:
        await connection.execute(text("CREATE TABLE kept (number INTEGER)"))
    yield made
    await made.dispose()


def _keep(connection: Connection) -> int:
    return connection.execute(text("INSERT INTO kept VALUES (1)")).rowcount


def _count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM kept")).scalar_one())


async def test_the_write_lock_is_free_again_while_the_loop_is_busy(engine: AsyncEngine, tmp_path: Path) -> None:
    begun = threading.Event()

    def work(connection: Connection) -> int:
        kept = _keep(connection)
        begun.set()
        return kept

    def other_writer() -> None:
        begun.wait(10)
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=10)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")

    writing = asyncio.create_task(transact(engine, work))
    await asyncio.sleep(0)
    other = threading.Thread(target=other_writer, daemon=True)
    other.start()
    other.join(20)  # all that time the event loop does nothing for the transaction
    assert not other.is_alive(), "the transaction ends, and another one begins, without the event loop"
    assert await writing == 1


async def test_what_raises_is_rolled_back(engine: AsyncEngine) -> None:
    def fail(connection: Connection) -> None:
        _keep(connection)
        raise KeyError

    with pytest.raises(KeyError):
        await transact(engine, fail)
    assert await transact(engine, _count) == 0


async def test_who_is_cancelled_leaves_nothing_behind(engine: AsyncEngine) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        _keep(connection)
        begun.set()
        go_on.wait(10)

    writing = asyncio.create_task(transact(engine, work))
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()
    assert await transact(engine, _count) == 0


async def test_transactions_stand_in_line(engine: AsyncEngine) -> None:
    assert await asyncio.gather(*(transact(engine, _keep) for _ in range(50))) == [1] * 50
    assert await transact(engine, _count) == 50


async def test_a_lock_that_is_not_given_is_an_error_for_all_in_line_at_once(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 500)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answers = await asyncio.gather(*(transact(engine, _keep) for _ in range(20)), return_exceptions=True)
        took = time.monotonic() - began
        connection.execute("ROLLBACK")
    assert all(isinstance(one, OperationalError) and "locked" in str(one) for one in answers)
    assert took < 5, "not one time limit after the other"
    assert await transact(engine, _keep) == 1


async def test_an_engine_works_after_it_was_disposed_of(engine: AsyncEngine) -> None:
    await transact(engine, _keep)
    await engine.dispose()
    assert await transact(engine, _count) == 1
