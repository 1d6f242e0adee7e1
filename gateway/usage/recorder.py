"""Usage of people and groups by day: gathered in memory, written every two seconds. No turn waits for it.

The audit log has every turn's tokens; this is what pages and CSV files are made from. A gateway that is killed loses
the last two seconds of it.
"""

import asyncio
import contextlib
from functools import partial

import structlog
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import transact
from gateway.usage import tables

WRITE_EVERY_S = 2.0
Gathered = dict[tuple[str, str, str], list[int]]
"""Turns and tokens of prompts and answers, by day, scope and name."""


class UsageRecorder:
    """Gathers usage and writes it by itself; close it in the end."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._gathered: Gathered = {}
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def note(self, day: str, names: tuple[tuple[str, str], ...], prompt_tokens: int, completion_tokens: int) -> None:
        """Count one turn for a person and groups (`scope`, `name`)."""
        for scope, name in names:
            counted = self._gathered.setdefault((day, scope, name), [0, 0, 0])
            counted[0] += 1
            counted[1] += prompt_tokens
            counted[2] += completion_tokens
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    async def aclose(self) -> None:
        """Write what is left."""
        self._closing.set()
        if self._writing is not None:
            await asyncio.wait([self._writing])  # not cancelled: what is being written would be lost, or counted twice
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self.write()

    async def _write_soon(self) -> None:
        while self._gathered and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._closing.wait()
            try:
                await self.write()
            except (SQLAlchemyError, OSError) as error:
                structlog.get_logger("attest.usage").error("usage.unwritten", error=type(error).__name__)

    async def write(self) -> None:
        """Write what was gathered; what cannot be written is kept. Raises `SQLAlchemyError`, `OSError`."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, {}
        try:
            await transact(self._engine, partial(_add, gathered))
        except (SQLAlchemyError, OSError):
            for (day, scope, name), counted in gathered.items():
                again = self._gathered.setdefault((day, scope, name), [0, 0, 0])
                again[:] = [old + new for old, new in zip(again, counted, strict=True)]
            raise


def _add(gathered: Gathered, connection: Connection) -> None:
    table = tables.usage
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for (day, scope, name), (turns, prompt, completion) in sorted(gathered.items()):
        values = {"turns": turns, "prompt_tokens": prompt, "completion_tokens": completion}
        adding = dialect.insert(table).values(day=day, scope=scope, name=name, **values)
        added = {column: table.c[column] + adding.excluded[column] for column in values}
        keys = [table.c.day, table.c.scope, table.c.name]
        connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=added))
