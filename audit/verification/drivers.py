"""How the rows of a snapshot are read: as the driver has them, since whatever is between costs as much again."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

Values = Sequence[Any]
"""One row."""
_T = TypeVar("_T")


class Rows(Protocol):
    """Reads the rows of one snapshot."""

    sqlite: bool

    async def all(self, statement: str, values: Mapping[str, Any]) -> list[Values]:
        """Return rows as the driver has them: SQLAlchemy's own cost as much again as reading them."""

    async def beside(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run work that computes long, so that whatever else goes on here does not wait for it."""


class SharedRows:
    """Reads through SQLAlchemy, while others use the same event loop."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.sqlite = connection.dialect.name == "sqlite"

    async def all(self, statement: str, values: Mapping[str, Any]) -> list[Values]:
        """See `Rows`."""

        def fetch(connection: Connection) -> list[Values]:
            cursor = connection.execute(text(statement), values).cursor
            return [tuple(row) for row in cursor.fetchall()] if cursor is not None else []

        return await self._connection.run_sync(fetch)

    async def beside(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """See `Rows`."""
        return await asyncio.to_thread(work, *arguments)


class LoneRows:
    """Reads SQLite where nobody else waits: without threads, whose handing over takes as long as the reading."""

    sqlite = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def all(self, statement: str, values: Mapping[str, Any]) -> list[Values]:
        """See `Rows`."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise DBAPIError.instance(statement, None, error, sqlite3.Error) from error

    async def beside(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """See `Rows`."""
        return work(*arguments)
