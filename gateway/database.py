"""The database engine that every part of the gateway shares: SQLite or PostgreSQL by URL.

On SQLite `engine.begin()` takes the write lock at once (`BEGIN IMMEDIATE`), because a transaction that reads first and
writes later fails when somebody else wrote in between; `engine.connect()` only reads as long as it only reads. Such a
transaction keeps everybody's lock while the event loop does something else between two statements: what every turn
writes goes through `transact`.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, AdaptedConnection, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.settings import SettingsError

BUSY_TIMEOUT_MS = 5000
"""How long a connection waits for another one's write lock."""
LEAST_BUSY_MS = 100
"""How long it waits at least, however long it has stood in line: a long line alone is no error."""
_WRITES = "attest_writes"
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is erased is overwritten
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
)
CONNECT_S = 10.0
"""How long PostgreSQL may take to answer a new connection, and a place among the connections to become free."""
LOOK_S = 3.0
"""How long a connection that was at rest may take to answer, before it is taken for lost and all that rest with it."""
COMMAND_S = 60.0
"""How long a statement of a gateway may take. A host that vanished without a word answers none, and closes nothing."""
_POSTGRES: dict[str, Any] = {"pool_size": 10, "max_overflow": 10, "pool_timeout": CONNECT_S}
_SERVER_SETTINGS = {
    # Compiling a statement takes longer than any of ours: PostgreSQL does it where it expects many rows to be dear.
    "jit": "off",
    # A gateway whose host vanished gives up its locks and its place among the writers after a minute, not two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_UNREACHABLE = ("08", "25006", "25P03", "40", "53", "55P03", "57", "58")
"""SQLSTATE, or its first two digits: connection, a standby, a transaction that was ended, conflicts, no room, locks,
an operator, the system."""

_T = TypeVar("_T")


class SqliteEngine(AsyncEngine):
    """An engine on SQLite whose `begin` takes the write lock before anything is read."""

    def __init__(self, sync_engine: Engine, direct: Engine) -> None:
        """`direct` opens the same file without an event loop; it is used in one thread alone."""
        super().__init__(sync_engine)
        self._direct = direct
        self._thread = ThreadPoolExecutor(1, "database")

    async def transact(self, work: Callable[[Connection], _T]) -> _T:
        """Carry out `work` in a write transaction; see `transact`."""
        until, waiting = time.monotonic() + BUSY_TIMEOUT_MS / 1000, list[asyncio.Future[_T]]()
        loop = asyncio.get_running_loop()
        waiting.append(loop.run_in_executor(self._thread, self._transact, work, until, waiting))
        return await waiting[0]

    def _transact(self, work: Callable[[Connection], _T], until: float, waiting: list["asyncio.Future[_T]"]) -> _T:
        with self._direct.connect() as connection:
            # The time in line counts: with a lock that nobody gives, the tenth would wait ten times as long.
            left_ms = max(LEAST_BUSY_MS, int((until - time.monotonic()) * 1000))
            cursor = connection.connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={left_ms}")
            cursor.close()
            connection.execution_options(**{_WRITES: True})
            with connection.begin() as transaction:
                done = work(connection)
                if waiting and waiting[0].cancelled():  # true at once, whatever the loop is doing
                    transaction.rollback()
                return done

    async def dispose(self, close: bool = True) -> None:
        """Close the connections that nobody uses."""
        try:
            await super().dispose(close)
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._direct.dispose, close)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection and a write transaction; committed at the end, rolled back on an error."""
        async with self.connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection


def make_engine(database_url: str, *, command_s: float | None = COMMAND_S, **options: Any) -> AsyncEngine:
    """Return an engine for `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://…`; nothing is opened yet.

    `command_s` is how long a statement may take on PostgreSQL; None: as long as it takes. `options` go to SQLAlchemy's
    `create_async_engine`, on SQLite to its `create_engine` as well. The folder of a SQLite file is made; raises
    `SettingsError` where it cannot be.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return _on_postgresql(url, command_s, options)
    if url.database:
        _make_folder(Path(url.database).parent)
    engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"), **options).sync_engine
    direct = create_engine(url.set(drivername="sqlite"), **options)
    _set_up_sqlite(engine)
    _set_up_sqlite(direct)
    return SqliteEngine(engine, direct)


def _on_postgresql(url: URL, command_s: float | None, options: dict[str, Any]) -> AsyncEngine:
    times = {"timeout": CONNECT_S, "command_timeout": command_s}
    arguments = {"server_settings": _SERVER_SETTINGS, "async_creator_fn": _connection_in_time} | {
        name: value for name, value in times.items() if name not in url.query
    }
    made = create_async_engine(url, **{**_POSTGRES, "connect_args": arguments, **options})
    event.listen(made.sync_engine, "checkout", _look_at_connection)
    event.listen(made.sync_engine, "handle_error", _no_answer)
    return made


class NotReachedError(ConnectionError):
    """No connection to the database could be opened; told apart from what else is refused or late."""


async def _connection_in_time(*where: Any, **options: Any) -> "asyncpg.Connection":
    try:
        return await asyncpg.connect(*where, **options)
    except OSError as error:
        raise NotReachedError(f"the database cannot be reached ({type(error).__name__})") from error


def _look_at_connection(connection: AdaptedConnection, _record: object, _proxy: object) -> None:
    """Look whether a connection still answers: what rests in the pool may have been lost without a word."""

    async def look(driver: "asyncpg.Connection") -> None:
        try:
            await driver.execute("SELECT 1", timeout=LOOK_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            driver.terminate()  # whoever is gone answers no farewell either
            raise InvalidatePoolError from error

    connection.run_async(look)


def _no_answer(context: ExceptionContext) -> Exception | None:
    """Give up a connection whose statement got no answer in time: to undo what it did would wait as long again."""
    error = context.original_exception
    if not isinstance(error, TimeoutError):
        return None
    context.is_disconnect = True
    context.invalidate_pool_on_disconnect = False  # one long statement says nothing about the others
    return OperationalError(context.statement, None, error, connection_invalidated=True)


def unreachable(error: BaseException) -> bool:
    """Whether the database could not be reached, gave no answer in time or had no room to work.

    Not so for a statement that it understood and refused, or that is wrong: that is a fault of whoever wrote it.
    """
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeoutError | NotReachedError)
    state = getattr(error.orig, "sqlstate", None)
    code = getattr(error.orig, "sqlite_errorcode", None)
    return (
        error.connection_invalidated
        or (isinstance(error, OperationalError) and code != sqlite3.SQLITE_ERROR)
        or (state or "").startswith(_UNREACHABLE)
    )


async def transact(engine: AsyncEngine, work: Callable[[Connection], _T]) -> _T:
    """Carry out `work` in a write transaction: committed when it returns, rolled back when it raises.

    Rolled back, too, when the caller is cancelled before the commit begins.

    On SQLite in a thread from begin to commit, one after the other: the event loop, which comes back to a statement
    when it has nothing else to do, would keep the file's only write lock twice as long.
    """
    if isinstance(engine, SqliteEngine):
        return await engine.transact(work)
    async with engine.begin() as connection:
        return await connection.run_sync(work)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The folder {folder} of the database cannot be made ({error.strerror}); "
            "set ATTEST_DATA_DIR, or ATTEST_DATABASE_URL where that is set, to another place."
        ) from None


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
