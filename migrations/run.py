"""Bring a database to a revision, safely also when several processes start at once.

All steps of one run are one transaction, under a lock: SQLite's write lock, an advisory lock on PostgreSQL. The
functions block; in a running event loop call them through `asyncio.to_thread`.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

_LOCK = 0x61747465_73740001
"""Number of the advisory lock: 'attest' in ASCII, then 1."""
_WAIT_S = 60
_Work = Callable[[Config], None]


class MigrationError(Exception):
    """The database cannot be brought to the revision; the message says why."""


def upgrade(database_url: str, revision: str = "head") -> str:
    """Run the steps that are missing up to `revision`; return the revision the database then has.

    A SQLite file (and its folder) is made when there is none. Raises `MigrationError`.
    """
    return _run(database_url, lambda config: command.upgrade(config, revision))


def downgrade(database_url: str, revision: str) -> str:
    """Undo the steps after `revision` (`base` undoes all, with all data); return the revision.

    Raises `MigrationError`.
    """
    return _run(database_url, lambda config: command.downgrade(config, revision))


def current(database_url: str) -> str:
    """Return the revision that the database has; empty when it has none. Raises `MigrationError`."""
    return _run(database_url, None)


def head() -> str:
    """Return the newest revision."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _run(database_url: str, work: _Work | None) -> str:
    url = make_url(database_url)
    try:
        if url.get_backend_name() == "sqlite":
            return _on_sqlite(url, work)
        return asyncio.run(_on_server(url, work))
    except (SQLAlchemyError, OSError) as error:
        cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        raise MigrationError(f"The database cannot be migrated: {cause}") from error


def _on_sqlite(url: URL, work: _Work | None) -> str:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        Path(url.database).touch(mode=0o600)  # SQLite gives its side files the same mode
    engine = sqlalchemy.create_engine(
        url.set(drivername="sqlite"), poolclass=NullPool, connect_args={"timeout": _WAIT_S}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _take_write_lock)
    with engine.begin() as connection:
        return _steps(connection, work)


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions are ours: the driver would commit before each table
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _take_write_lock(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _on_server(url: URL, work: _Work | None) -> str:
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    try:
        async with contextlib.aclosing(await _connected(engine)) as connection, connection.begin():
            if work is not None:
                await connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(_steps, work)
    finally:
        await engine.dispose()


async def _connected(engine: AsyncEngine) -> AsyncConnection:
    """Open a connection. Raises `MigrationError` that quotes nothing where the driver cannot read the address."""
    try:
        return await engine.connect()
    except OSError:  # a certificate that is not trusted is a ValueError as well
        raise
    except (TypeError, ValueError):
        raise MigrationError(
            "The database cannot be migrated: ATTEST_DATABASE_URL has an option after its ? that the driver does not "
            "know, or a value that it cannot use."
        ) from None


def _steps(connection: Connection, work: _Work | None) -> str:
    if work is not None:
        config = _config()
        config.attributes["connection"] = connection
        work(config)
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
