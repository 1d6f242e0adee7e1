"""The database engine that every part of the gateway shares: SQLite or PostgreSQL by URL.

On SQLite `engine.begin()` takes the write lock at once (`BEGIN IMMEDIATE`), because a transaction that reads first and
writes later fails when somebody else wrote in between; `engine.connect()` only reads as long as it only reads.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

BUSY_TIMEOUT_MS = 5000
"""How long a connection waits for another one's write lock."""
_WRITES = "attest_writes"
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is erased is overwritten
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
)
_POSTGRES: dict[str, Any] = {
    "pool_pre_ping": True,
    "pool_size": 10,
    "max_overflow": 10,
    # Compiling a statement takes longer than any of ours: PostgreSQL does it where it expects many rows to be dear.
    "connect_args": {"server_settings": {"jit": "off"}},
}


class SqliteEngine(AsyncEngine):
    """An engine on SQLite whose `begin` takes the write lock before anything is read."""

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection and a write transaction; committed at the end, rolled back on an error."""
        async with self.connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection


def make_engine(database_url: str, **options: Any) -> AsyncEngine:
    """Return an engine for `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://…`; nothing is opened yet.

    `options` go to SQLAlchemy's `create_async_engine`. The folder of a SQLite file is made.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, **{**_POSTGRES, **options})
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"), **options).sync_engine
    _set_up_sqlite(engine)
    return SqliteEngine(engine)


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # BEGIN is sent below, where the kind of transaction is known
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
