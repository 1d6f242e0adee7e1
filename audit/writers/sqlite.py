"""The writer on SQLite: one thread with a connection of its own, one durable commit for all that waits."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

from audit.keys import KeyFileError, MasterKey, SubjectKey
from audit.ports import AuditUnavailableError
from audit.ring import ERASED_MEANWHILE, ERASURES, ERASURES_ASKED_S, KeyDestroyedError, KeyRing
from audit.rows import RowMaker, Rows, name_texts, subjects_with_texts
from audit.writers.failures import mapped
from audit.writers.places import Place, place_of
from audit.writers.ports import PROBE_BYTES, Settle, Submission, take_batch
from audit.writers.sqlite_statements import FIND_KEY, INSERT, INSERT_KEY, check_still_so, known_texts

_PRAGMAS = (
    "PRAGMA synchronous=FULL",  # the commit returns when the log is on the disk
    "PRAGMA fullfsync=1",  # on macOS too
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-16000",
)
_FAULTS_OF_ONE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    OverflowError,
)
"""Errors that one submission may cause: then each of the batch is tried by itself."""


class SqliteWriter:
    """Commits submissions to a SQLite file. See `audit.writers.ports.Writer`."""

    away_s = 0.0

    def __init__(
        self, path: Path, writer_id: str, master: MasterKey, settle: Settle, *, busy_timeout_s: float = 5.0
    ) -> None:
        self.writer_id = writer_id
        self._path = path
        self._settle = settle
        self._busy_timeout_s = busy_timeout_s
        self._ring = KeyRing(master)
        self._maker = RowMaker(writer_id)
        self._queue: queue.SimpleQueue[Submission | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._thread: threading.Thread | None = None
        self._place: Place | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._erasures, self._asked = 0, float("-inf")

    async def start(self) -> None:
        """Take our place among the writers, then open the database in the thread."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        try:
            self._place = await asyncio.to_thread(Place.take_own, self._path, self.writer_id)
        except OSError as error:
            raise AuditUnavailableError(f"The folder of the audit log cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, args=(opened,), name="audit-writer", daemon=True)
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    def submit(self, submission: Submission) -> None:
        """Queue a submission."""
        self._queue.put(submission)

    async def close(self) -> None:
        """Commit what is queued, end the thread, give up our place."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._place is not None:
            self._place.leave()
            self._place = None

    @contextlib.asynccontextmanager
    async def claim(self, writer_id: str) -> AsyncIterator[bool]:
        """Hold a dead writer's place: the kernel freed its lock when the process ended."""
        try:
            place = Place.take(place_of(self._path, writer_id))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            place.leave()

    # From here on: in the thread.

    def _run(self, opened: "asyncio.Future[None]") -> None:
        error: Exception | None = None
        try:
            self._connect()
        except (sqlite3.Error, OSError, KeyFileError) as failure:
            error = _mapped(failure)
        self._call(_resolve, opened, error)
        while (first := self._queue.get()) is not None:
            ended, batch = self._drain(first)
            self._commit_all(batch)
            self._call(self._settle, batch)
            if ended:
                break
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("DELETE FROM audit_writer WHERE writer_id = ?", (self.writer_id,))
        self._disconnect()

    def _drain(self, first: Submission) -> tuple[bool, list[Submission]]:
        ended = False

        def following() -> Submission | None:
            nonlocal ended
            try:
                submission = self._queue.get_nowait()
            except queue.Empty:
                return None
            ended = submission is None
            return submission

        batch = take_batch(first, following)
        return ended, batch

    def _call(self, function: Callable[..., None], *values: object) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(function, *values)

    def _commit_all(self, batch: list[Submission]) -> None:
        """Commit a batch, or give each submission its error. Never raises: the thread must live."""
        records = [submission for submission in batch if submission.entries]
        try:
            if len(records) < len(batch):
                self._probe()
            if records:
                self._commit(records)
        except _FAULTS_OF_ONE as error:
            self._rollback()
            if len(batch) == 1:
                batch[0].error = _mapped(error)
                return
            for submission in batch:
                self._commit_all([submission])
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach those who wait, not end the thread
            self._disconnect()
            for submission in batch:
                submission.error = _mapped(error)

    def _commit(self, batch: list[Submission]) -> None:
        self._forget_erased()
        for _ in range(ERASED_MEANWHILE):
            try:
                return self._try_commit(batch)
            except KeyDestroyedError:  # a person was erased since the key was opened: new texts get a new key
                self._rollback()
                self._ring.forget()
        return self._try_commit(batch)

    def _try_commit(self, batch: list[Submission]) -> None:
        connection = self._connection or self._connect()
        entries = [entry for submission in batch for entry in submission.entries]
        keys = {subject: self._key(connection, subject) for subject in subjects_with_texts(entries)}
        named = [name_texts(submission.entries, keys) for submission in batch]
        known = known_texts(connection, {text.text_id for several in named for one in several for text in one.texts})
        there = frozenset(known)
        rows = Rows.none()
        receipts = []
        for several in named:
            more, of_these = self._maker.make(several, keys, known)
            rows.add(more)
            receipts.append(of_these)
        connection.execute("BEGIN IMMEDIATE")
        check_still_so(connection, keys.values(), there)
        for table, statement in INSERT.items():
            if rows.by_table[table]:
                connection.executemany(statement, rows.by_table[table])
        connection.execute("COMMIT")
        self._check_still_there()
        for submission, of_these in zip(batch, receipts, strict=True):
            submission.receipts = of_these

    def _key(self, connection: sqlite3.Connection, subject: str) -> SubjectKey:
        """Return a subject's key; make it first, durably, when there is none."""
        if (key := self._ring.cached(subject)) is not None:
            return key
        row = connection.execute(FIND_KEY, (subject,)).fetchone()
        if row is None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(INSERT_KEY, self._ring.new_row(subject))
            connection.execute("COMMIT")
            row = connection.execute(FIND_KEY, (subject,)).fetchone()
        if row is None:
            raise KeyDestroyedError
        return self._ring.open(row[0], subject, row[1])

    def _forget_erased(self) -> None:
        """Drop the opened keys when somebody was erased, here or by another process."""
        if time.monotonic() - self._asked < ERASURES_ASKED_S:
            return
        connection = self._connection or self._connect()
        erasures = connection.execute(ERASURES).fetchone()[0]
        if erasures != self._erasures:
            self._ring.forget()
        self._erasures, self._asked = erasures, time.monotonic()

    def _probe(self) -> None:
        """Write something as large as a record, to see that there is room, and take it away again."""
        self._forget_erased()
        connection = self._connection or self._connect()
        change = "UPDATE audit_writer SET padding = zeroblob(?), seen_us = ? WHERE writer_id = ?"
        connection.execute(change, (PROBE_BYTES, time.time_ns() // 1000, self.writer_id))
        connection.execute("UPDATE audit_writer SET padding = NULL WHERE writer_id = ?", (self.writer_id,))
        self._check_still_there()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",  # rw, not rwc: a lost file must not come back empty
            uri=True,
            isolation_level=None,
            timeout=self._busy_timeout_s,
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            now = time.time_ns() // 1000
            connection.execute(
                "INSERT INTO audit_writer (writer_id, started_us, seen_us) VALUES (?, ?, ?)"
                " ON CONFLICT (writer_id) DO UPDATE SET seen_us = excluded.seen_us",
                (self.writer_id, now, now),
            )
            self._check_master_key(connection)
            found = self._path.stat()
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, (found.st_dev, found.st_ino)
        return connection

    def _check_master_key(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(
            "SELECT key_id, subject, wrapped FROM subject_key WHERE destroyed_us IS NULL LIMIT 1"
        ).fetchone()
        if row is not None:
            self._ring.open(*row)

    def _check_still_there(self) -> None:
        """Raise when the file was moved or deleted: such a file takes writes that nobody will ever find."""
        found = self._path.stat()
        if (found.st_dev, found.st_ino) != self._inode:
            raise FileNotFoundError("another file is in the database's place")

    def _rollback(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._disconnect()

    def _disconnect(self) -> None:
        """Close the connection; what was not committed is undone. The next batch opens a new one."""
        connection, self._connection = self._connection, None
        self._ring.forget()
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _resolve(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _mapped(error: Exception) -> Exception:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    return mapped(error, name, unmigrated="no such table" in str(error))
