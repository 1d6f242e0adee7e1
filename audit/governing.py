"""Transactions that govern the log: what they change and the record that says so stand together, or neither does.

One of them at a time, over every process: a hold that is placed while somebody prunes is either seen or comes after.
The log's own writer goes on beside them; what it must not overrun (the keys of subjects) is locked where it is changed.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.canonical import UnrecordableError
from audit.identifiers import RisingIds
from audit.ports import AuditRejectedError, AuditUnavailableError
from audit.record import CLOSING_KINDS, Entry, Kind, Receipt
from audit.rows import COLUMNS, NamedEntry, RowMaker
from audit.sequence import IDLE_S
from audit.tables import METADATA

_LOCK = 0x61747465_73740002
"""Number of the advisory lock: 'attest' in ASCII, then 2."""
_LOCK_WAIT_MS = 30_000
_AT_ONCE = 4
"""Transactions of one process that stand in line for the lock with a connection; the others wait without one."""
_OF_TURNS = CLOSING_KINDS | {Kind.TURN_ACCEPTED, Kind.TURN_RELEASED}


class GoverningError(Exception):
    """What was asked cannot be done; the message says why, and names no text of a turn."""


class UnknownError(GoverningError):
    """What was named is not there."""


class Governor:
    """Opens the transactions, and records in them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._maker = RowMaker("governor")
        self._ids = RisingIds()
        self._places = asyncio.Semaphore(_AT_ONCE)

    @property
    def engine(self) -> AsyncEngine:
        """The database, for what only reads."""
        return self._engine

    @property
    def postgresql(self) -> bool:
        """Whether rows can and must be locked one by one; on SQLite the whole database is."""
        return self._engine.dialect.name == "postgresql"

    def new_id(self) -> str:
        """Return a new UUIDv7."""
        return self._ids.next()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes, durable when it returns. Raises `AuditUnavailableError`."""
        try:
            async with self._place(), self._engine.begin() as connection:
                if self.postgresql:
                    await connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'"))
                    await connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_WAIT_MS}"))
                    await connection.execute(text("SET LOCAL synchronous_commit = on"))
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be changed now ({type(error).__name__}).") from error

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Keep the pool for the others: on PostgreSQL whoever waits for the lock holds a connection."""
        if not self.postgresql:
            yield
            return
        async with asyncio.timeout(_LOCK_WAIT_MS / 1000):
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection that only reads. Raises `AuditUnavailableError`."""
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error

    async def record(self, connection: AsyncConnection, *entries: Entry) -> tuple[Receipt, ...]:
        """Append records that have no texts and neither open nor end a turn, in this transaction."""
        if any(entry.contents or entry.dialogue or entry.kind in _OF_TURNS for entry in entries):
            raise AuditRejectedError("Only the log's writer takes texts and the records of turns.")
        try:
            rows, receipts = self._maker.make([NamedEntry(entry, ()) for entry in entries], {}, set())
        except UnrecordableError as error:
            raise AuditRejectedError(str(error)) from error
        for table, of_table in rows.by_table.items():
            if of_table:
                values = [dict(zip(COLUMNS[table], row, strict=True)) for row in of_table]
                await connection.execute(insert(METADATA.tables[table]), values)
        return receipts


def now_us() -> int:
    """Return microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def moment(at_us: int) -> datetime:
    """Return the time of some microseconds since 1970 UTC."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)


def rfc3339(at_us: int) -> str:
    """Return a time as records write it."""
    return moment(at_us).isoformat().replace("+00:00", "Z")
