"""A connection to the log for somebody who reads it."""

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.ports import AuditUnavailableError


@contextlib.asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection. What goes wrong with the database inside the block is an `AuditUnavailableError`."""
    try:
        async with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error
