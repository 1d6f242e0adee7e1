"""A database as it is at one moment, opened to be read by a verification or an export."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from urllib.parse import quote

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.verification.drivers import LoneRows, SharedRows
from audit.verification.source import Source


@contextlib.asynccontextmanager
async def opened_source(engine: AsyncEngine, *, alone: bool = False) -> AsyncIterator[Source]:
    """Open the database as it is at one moment.

    `alone`: this process has nothing else to do meanwhile, and its event loop may stand still.
    """
    if alone and engine.dialect.name == "sqlite" and engine.url.database:
        with contextlib.closing(_opened(engine.url.database)) as connection:
            yield Source(LoneRows(connection))
        return
    async with snapshot(engine) as shared:
        yield Source(SharedRows(shared))


def _opened(path: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, isolation_level=None)
        connection.execute("BEGIN")
    except sqlite3.Error as error:
        raise DBAPIError.instance("BEGIN", None, error, sqlite3.Error) from error
    return connection


@contextlib.asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open the database as it is at one moment; writers go on meanwhile."""
    async with engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        async with connection.begin():
            yield connection
