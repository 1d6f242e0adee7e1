import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from audit.keys import FileMasterKey
from audit.log import LogLimits, SqlAuditLog
from gateway.database import make_engine

MASTER = FileMasterKey(b"contract-tests-master-key-32byte")


@asynccontextmanager
async def opened(database: str, limits: LogLimits | None = None, master=MASTER) -> AsyncIterator[SqlAuditLog]:
    engine = make_engine(database)
    try:
        async with SqlAuditLog(engine, master, limits) as log:
            yield log
    finally:
        await engine.dispose()


@pytest.fixture
async def log(database: str) -> AsyncIterator[SqlAuditLog]:
    async with opened(database) as log:
        yield log


class Raw:
    """The database without Attest: what an intruder or an operator does."""

    def __init__(self, database: str) -> None:
        self._url = make_url(database)
        self.sqlite = self._url.get_backend_name() == "sqlite"

    async def run(self, statement: str) -> list[tuple[object, ...]]:
        if self.sqlite:
            connection = sqlite3.connect(str(self._url.database), timeout=10)
            try:
                with connection:
                    return connection.execute(statement).fetchall()
            finally:
                connection.close()
        server = await asyncpg.connect(self._url.set(drivername="postgresql").render_as_string(hide_password=False))
        try:
            return [tuple(row) for row in await server.fetch(statement)]
        finally:
            await server.close()

    async def refused(self, statement: str) -> str:
        """Run a statement that must fail; return why."""
        with pytest.raises((sqlite3.DatabaseError, asyncpg.PostgresError)) as failure:
            await self.run(statement)
        return str(failure.value)

    async def disarm(self) -> None:
        """Take away the triggers, as somebody with all rights could."""
        if self.sqlite:
            for (name,) in await self.run("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                await self.run(f"DROP TRIGGER {name}")
        else:
            for table in ("audit_entry", "audit_content", "audit_text", "audit_tile", "audit_checkpoint"):
                await self.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")


@pytest.fixture
def raw(database: str) -> Raw:
    return Raw(database)
