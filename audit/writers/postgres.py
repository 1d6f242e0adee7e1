"""The writer on PostgreSQL: one task with a connection of its own, one durable commit for all that waits."""

import asyncio
import contextlib
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg

from audit.keys import KeyFileError, MasterKey, SubjectKey
from audit.record import Content, Entry, Kind, Receipt
from audit.ring import ERASED_MEANWHILE, ERASURES, ERASURES_ASKED_S, KeyDestroyedError, KeyRing
from audit.rows import COLUMNS, NamedEntry, RowMaker, Rows, name_texts, subjects_with_texts
from audit.writers.failures import mapped
from audit.writers.ports import PROBE_BYTES, Settle, Submission, take_batch
from audit.writers.postgres_options import in_time, of_writer
from audit.writers.postgres_statements import FIND_KEY, INSERT, INSERT_KEY, arrays, look_up

_SMALL_CHARACTERS = 20_000
"""Batches with more text than this are encrypted in a thread, so that the event loop goes on."""
_WEAK_COMMITS = ("off", "local")
_KEEP_S = 2.0
"""How often a writer that has nothing to write sees to its connection, and so to its place among the writers."""
_KEPT_S = 3.0
"""How long the server may take to say that the connection is there."""
_FAULTS_OF_ONE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,
    OverflowError,
)
"""Errors that one submission may cause: then each of the batch is tried by itself."""


class PostgresWriter:
    """Commits submissions to PostgreSQL. See `audit.writers.ports.Writer`."""

    away_s = 5.0

    def __init__(
        self,
        options: Mapping[str, Any],
        writer_id: str,
        master: MasterKey,
        settle: Settle,
        *,
        lock_wait_s: float = 5.0,
    ) -> None:
        """`options` are those of `asyncpg.connect`."""
        self.writer_id = writer_id
        self._options = in_time(options, 2 * lock_wait_s)
        self._settle = settle
        self._lock_wait_s = lock_wait_s
        self._ring = KeyRing(master)
        self._maker = RowMaker(writer_id)
        self._queue: deque[Submission] = deque()
        self._wake = asyncio.Event()
        self._ending = False
        self._connection: asyncpg.Connection | None = None
        self._placed = False
        self._full = False
        self._task: asyncio.Task[None] | None = None
        self._erasures, self._asked = 0, float("-inf")

    async def start(self) -> None:
        """Open the database, take our place among the writers, start the task."""
        try:
            await self._connect()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, KeyFileError) as error:
            await self._disconnect()
            raise _mapped(error) from error
        self._ending = False
        self._task = asyncio.create_task(self._run(), name="audit-writer")

    def submit(self, submission: Submission) -> None:
        """Queue a submission."""
        self._queue.append(submission)
        self._wake.set()

    async def close(self) -> None:
        """Commit what is queued, end the task, close the connection (which gives up our place)."""
        self._ending = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._connection is not None:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await self._connection.execute("DELETE FROM audit_writer WHERE writer_id = $1", self.writer_id)
        await self._disconnect()

    @contextlib.asynccontextmanager
    async def claim(self, writer_id: str) -> AsyncIterator[bool]:
        """Hold a dead writer's place: the server freed its advisory lock when the connection ended."""
        try:
            connection = await asyncpg.connect(**self._options)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise _mapped(error) from error
        try:
            yield bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _lock_of(writer_id)))
        finally:
            await connection.close()

    async def _run(self) -> None:
        while self._queue or not self._ending:
            if not self._queue:
                self._wake.clear()
                await self._rest()
                continue
            batch = take_batch(self._queue.popleft(), lambda: self._queue.popleft() if self._queue else None)
            await self._commit_all(batch)
            self._settle(batch)

    async def _rest(self) -> None:
        """Wait for a submission, and keep our place meanwhile.

        A server that was started again has given it up, and another gateway would take our turns for abandoned ones.
        """
        try:
            async with asyncio.timeout(_KEEP_S):
                await self._wake.wait()
        except TimeoutError:
            try:
                await (await self._connected()).execute("SELECT 1", timeout=_KEPT_S)
            except Exception:  # noqa: BLE001 - whatever it is, whoever writes next is told
                await self._disconnect()

    async def _commit_all(self, batch: list[Submission]) -> None:
        """Commit a batch, or give each submission its error. Never raises: the task must live."""
        records = [submission for submission in batch if submission.entries]
        try:
            if len(records) < len(batch):
                await self._probe()
            if records:
                await self._commit(records)
                self._full = False
        except _FAULTS_OF_ONE as error:
            if len(batch) == 1:
                batch[0].error = _mapped(error)
                return
            for submission in batch:
                await self._commit_all([submission])
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach those who wait, not end the task
            self._full = self._full or isinstance(error, asyncpg.DiskFullError)
            await self._disconnect()
            for submission in batch:
                submission.error = _mapped(error)

    async def _commit(self, batch: list[Submission]) -> None:
        await self._forget_erased()
        for _ in range(ERASED_MEANWHILE):
            try:
                return await self._try_commit(batch)
            except KeyDestroyedError:  # a person was erased since the key was opened: new texts get a new key
                self._ring.forget()
        return await self._try_commit(batch)

    async def _try_commit(self, batch: list[Submission]) -> None:
        connection = await self._connected()
        entries = [entry for submission in batch for entry in submission.entries]
        keys = {subject: await self._key(connection, subject) for subject in subjects_with_texts(entries)}
        in_thread = sum(submission.characters for submission in batch) > _SMALL_CHARACTERS
        named = await _maybe_in_thread(in_thread, lambda: [name_texts(one.entries, keys) for one in batch])
        known, versions = await look_up(connection, named, keys.values())
        rows, receipts = await _maybe_in_thread(in_thread, lambda: self._make(named, keys, known))
        rows.merge_turns()  # one statement may touch a row once
        columns = (array for table in COLUMNS for array in arrays(rows, table))
        try:
            await connection.execute(INSERT, list(versions), list(versions.values()), *columns)
        except asyncpg.NotNullViolationError as error:
            if error.column_name == "key_id":
                raise KeyDestroyedError from None
            raise
        for submission, of_these in zip(batch, receipts, strict=True):
            submission.receipts = of_these

    def _make(
        self, named: list[tuple[NamedEntry, ...]], keys: Mapping[str, SubjectKey], known: set[str]
    ) -> tuple[Rows, list[tuple[Receipt, ...]]]:
        rows = Rows.none()
        receipts = []
        for several in named:
            more, of_these = self._maker.make(several, keys, known)
            rows.add(more)
            receipts.append(of_these)
        rows.by_table["audit_text"].sort(key=lambda row: str(row[0]))  # one order everywhere: no deadlock
        return rows, receipts

    async def _key(self, connection: "asyncpg.Connection", subject: str) -> SubjectKey:
        """Return a subject's key; make it first, durably, when there is none."""
        if (key := self._ring.cached(subject)) is not None:
            return key
        row = await connection.fetchrow(FIND_KEY, subject)
        if row is None:
            await connection.execute(INSERT_KEY, *await asyncio.to_thread(self._ring.new_row, subject))
            row = await connection.fetchrow(FIND_KEY, subject)
        if row is None:
            raise KeyDestroyedError
        return await asyncio.to_thread(self._ring.open, row["key_id"], subject, row["wrapped"])

    async def _forget_erased(self) -> None:
        """Drop the opened keys when somebody was erased, here or by another process."""
        if time.monotonic() - self._asked < ERASURES_ASKED_S:
            return
        connection = await self._connected()
        erasures = await connection.fetchval(ERASURES)
        if erasures != self._erasures:
            self._ring.forget()
        self._erasures, self._asked = erasures, time.monotonic()

    async def _probe(self) -> None:
        """Write something durably, to see that the server takes it; after a full disk, as much as a record has."""
        await self._forget_erased()
        if self._full:
            await self._rehearse()
        connection = await self._connected()
        change = "UPDATE audit_writer SET seen_us = $1 WHERE writer_id = $2"
        await connection.execute(change, time.time_ns() // 1000, self.writer_id)

    async def _rehearse(self) -> None:
        """Append a record and take it back: a full disk still has room for a line of a table, but none for a record.

        What is taken back takes room until the next vacuum, so that this is done only while the disk was full.
        """
        of, text = self.writer_id, Content("message", "system", "x" * PROBE_BYTES)
        entry = Entry(kind=Kind.TURN_ACCEPTED, at=datetime.now(UTC), subject=of, turn_id=of, contents=(text,))
        connection = await self._connected()
        transaction = connection.transaction()
        await transaction.start()
        try:
            await self._try_commit([Submission((entry,), PROBE_BYTES)])
        finally:
            await transaction.rollback()
            self._ring.forget()  # the key that was made for it is gone, too
        self._full = False

    async def _connected(self) -> "asyncpg.Connection":
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await self._connect()
        if not self._placed:  # after a lost connection the server may still hold the old one's lock for a while
            self._placed = bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _lock_of(self.writer_id)))
        return connection

    async def _connect(self) -> "asyncpg.Connection":
        self._placed = False
        connection: asyncpg.Connection = await asyncpg.connect(**of_writer(self._options, self._lock_wait_s))
        self._connection = connection
        if await connection.fetchval("SHOW synchronous_commit") in _WEAK_COMMITS:
            await connection.execute("SET synchronous_commit = on")
        now = time.time_ns() // 1000
        await connection.execute(
            "INSERT INTO audit_writer (writer_id, started_us, seen_us) VALUES ($1, $2, $2)"
            " ON CONFLICT (writer_id) DO UPDATE SET seen_us = excluded.seen_us",
            self.writer_id,
            now,
        )
        row = await connection.fetchrow(
            "SELECT key_id, subject, wrapped FROM subject_key WHERE destroyed_us IS NULL LIMIT 1"
        )
        if row is not None:
            await asyncio.to_thread(self._ring.open, row["key_id"], row["subject"], row["wrapped"])
        self._placed = bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _lock_of(self.writer_id)))
        return connection

    async def _disconnect(self) -> None:
        """Drop the connection; what was not committed is undone. The next batch opens a new one."""
        connection, self._connection = self._connection, None
        self._placed = False
        self._ring.forget()
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=2)


async def _maybe_in_thread(in_thread: bool, work: Any) -> Any:
    return await asyncio.to_thread(work) if in_thread else work()


def _lock_of(writer_id: str) -> int:
    digest = hashlib.sha256(b"attest/audit-writer/" + writer_id.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _mapped(error: Exception) -> Exception:
    return mapped(error, type(error).__name__, unmigrated=isinstance(error, asyncpg.UndefinedTableError))
