"""Which errors say that the database is gone, and which are faults of ours."""

import sqlite3

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.database import NotReachedError, make_engine, unreachable


def _of_postgres(kind: type[asyncpg.PostgresError], wrapped: type[DBAPIError] = DBAPIError) -> DBAPIError:
    cause = kind("why")
    cause.sqlstate = kind.sqlstate
    return wrapped("SELECT 1", {}, cause)


@pytest.mark.parametrize(
    "error",
    [
        NotReachedError(),
        PoolTimeoutError(),
        _of_postgres(asyncpg.AdminShutdownError),
        _of_postgres(asyncpg.LockNotAvailableError),
        _of_postgres(asyncpg.TooManyConnectionsError),
        _of_postgres(asyncpg.DiskFullError),
        DBAPIError("SELECT 1", {}, asyncpg.PostgresError("gone"), connection_invalidated=True),
    ],
    ids=lambda error: type(getattr(error, "orig", error)).__name__,
)
def test_a_database_that_is_gone_or_has_no_room_is_unavailable(error: Exception):
    assert unreachable(error)


@pytest.mark.parametrize(
    "error",
    [
        _of_postgres(asyncpg.UndefinedColumnError, ProgrammingError),
        _of_postgres(asyncpg.UniqueViolationError, IntegrityError),
        _of_postgres(asyncpg.InvalidTextRepresentationError),
        InterfaceError("SELECT 1", {}, asyncpg.InterfaceError("invalid input for query argument $1")),
        FileNotFoundError(),
        TimeoutError(),
        ConnectionResetError(),
        KeyError("x"),
    ],
    ids=lambda error: type(getattr(error, "orig", error)).__name__,
)
def test_a_statement_that_is_wrong_is_a_fault(error: Exception):
    assert not unreachable(error)


async def test_sqlite_tells_a_lock_from_a_mistake(tmp_path, monkeypatch):
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    async with engine.connect() as connection:
        with pytest.raises(OperationalError) as mistake:
            await connection.execute(text("SELECT * FROM nothing"))
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("gateway.database.BUSY_TIMEOUT_MS", 100)
    with pytest.raises(OperationalError) as locked:
        await engine.transact(lambda connection: connection.execute(text("CREATE TABLE a (b)")))
    other.close()
    await engine.dispose()
    assert not unreachable(mistake.value)
    assert unreachable(locked.value)
