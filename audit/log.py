"""The audit log on SQL: durable appends through one writer that commits in groups, and the readers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.identifiers import RisingIds
from audit.keys import MasterKey
from audit.ports import AuditOverloadedError, AuditUnavailableError, TurnFilter, TurnSummary, TurnTrail
from audit.readers import Readers
from audit.record import Entry, Kind, Receipt
from audit.writers.ports import Settle, Submission, Writer
from audit.writers.postgres import PostgresWriter
from audit.writers.sqlite import SqliteWriter

_CLOSED_TOGETHER = 100
"""Turns that recovery closes in one transaction."""


class LogLimits(msgspec.Struct, frozen=True):
    """Bounds of the log."""

    queued_entries: int = 4096
    """Entries that wait for the disk; more are refused with `AuditOverloadedError`."""
    queued_characters: int = 64 * 2**20
    """Characters of text in those entries."""
    lock_wait_s: float = 5.0
    """Longest wait for a lock in the database, in seconds."""
    probe_s: float = 5.0
    """Longest time that a readiness probe may take, in seconds."""
    probe_kept_s: float = 1.0
    """How long the answer of a probe counts."""


class SqlAuditLog:
    """The log of one process; `async with` starts and closes it. Implements `audit.ports.AuditLog`."""

    def __init__(
        self,
        engine: AsyncEngine,
        master_key: MasterKey,
        limits: LogLimits | None = None,
        on_durable: Callable[[int], None] | None = None,
    ) -> None:
        """`engine` serves the readers; the writer has a connection of its own to the same database.

        `on_durable` hears how many entries became durable.
        """
        self._on_durable = on_durable or (lambda _: None)
        self._limits = limits or LogLimits()
        self._readers = Readers(engine, master_key)
        self._writer = _writer_for(engine, master_key, self._settle, self._limits)
        self._waiting: dict[int, tuple[Submission, asyncio.Future[tuple[Receipt, ...]]]] = {}
        self._entries = 0
        self._characters = 0
        self._running = False
        self._probed: tuple[float, bool] = (0.0, False)
        self._suspects: frozenset[str] | None = None
        """Writers of open turns whose places were free when `recover` looked last; None before it ever did."""

    @property
    def queued(self) -> int:
        """Entries that are not durable yet."""
        return self._entries

    async def start(self) -> None:
        """Open the database. Raises `AuditUnavailableError` that says what to do."""
        await self._writer.start()
        self._running = True

    async def close(self) -> None:
        """Commit what is queued, then end."""
        self._running = False
        await self._writer.close()
        await asyncio.sleep(0)  # what the writer settled last is delivered
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(AuditUnavailableError("The audit log is closed."))
        self._waiting.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def append(self, *entries: Entry) -> tuple[Receipt, ...]:
        """Make the entries durable, in order and in one transaction.

        When the caller is cancelled meanwhile, they are committed wholly or not at all. Raises
        `AuditUnavailableError`, `AuditOverloadedError` (queue full), `AuditRejectedError` (an entry that has no leaf).
        """
        if not entries:
            return ()
        characters = sum(len(one.text) for entry in entries for one in (*entry.contents, *entry.dialogue))
        if self._entries and (
            self._entries + len(entries) > self._limits.queued_entries
            or self._characters + characters > self._limits.queued_characters
        ):
            raise AuditOverloadedError("Too many records wait for the disk; try again shortly.")
        return await self._submit(Submission(entries, characters))

    async def turns(self, which: TurnFilter) -> tuple[TurnSummary, ...]:
        """List turns, newest first; at most `audit.readers.MOST_LISTED`."""
        return await self._readers.turns(which)

    async def turn(self, turn_id: str) -> TurnTrail | None:
        """Return one turn whole. Raises `AuditIntegrityError` when a record or text of it was altered."""
        return await self._readers.turn(turn_id)

    def entries(self, kinds: tuple[str, ...] = (), limit: int = 1000) -> AsyncIterator[Entry]:
        """Yield records of these kinds (all when empty), oldest first, without contents."""
        return self._readers.entries(kinds, limit)

    async def ready(self) -> bool:
        """Whether an append would succeed now: a real write, at most once in `probe_kept_s`."""
        at, answer = self._probed
        if time.monotonic() - at < self._limits.probe_kept_s:
            return answer
        answer = False
        with contextlib.suppress(AuditUnavailableError, TimeoutError):
            async with asyncio.timeout(self._limits.probe_s):
                await self._submit(Submission((), 0))
            answer = self._entries < self._limits.queued_entries
        self._probed = (time.monotonic(), answer)
        return answer

    async def recover(self, abandoned: Collection[str] = ()) -> int:
        """Close, as `turn.interrupted`, the turns of processes that ended without closing them; return how many.

        Call it at start, and now and then where several gateways share a database: the turns of a living process are
        left alone. A place that is free may be that of a writer whom a restart of the server cut off a moment ago: its
        turns are closed when the place is free again at the next call, or, at the first one, after `Writer.away_s`.
        `abandoned` names turns of this process that it can no longer close by itself.
        """
        before, suspects = self._suspects, await self._absent_writers()
        self._suspects = suspects
        if before is None and suspects:
            await asyncio.sleep(self._writer.away_s)
        closed = 0
        for writer_id in sorted(suspects if before is None or not self._writer.away_s else suspects & before):
            async with self._writer.claim(writer_id) as dead:
                if dead:
                    closed += await self._close_turns(await self._readers.open_turns(writer_id))
        if abandoned:
            mine = await self._readers.open_turns(self._writer.writer_id)
            closed += await self._close_turns(tuple(turn for turn in mine if turn.turn_id in abandoned))
        return closed

    async def _absent_writers(self) -> frozenset[str]:
        """Return the other writers that have open turns and are not at their places."""
        absent = set()
        for writer_id in await self._readers.writers_of_open_turns():
            if writer_id != self._writer.writer_id:
                async with self._writer.claim(writer_id) as free:
                    absent |= {writer_id} if free else set()
        return frozenset(absent)

    async def _close_turns(self, opened: tuple[Entry, ...]) -> int:
        for start in range(0, len(opened), _CLOSED_TOGETHER):
            part = opened[start : start + _CLOSED_TOGETHER]
            lengths = [await self._readers.delivered_length(entry.turn_id) for entry in part]
            await self.append(*(_interrupted(entry, length) for entry, length in zip(part, lengths, strict=True)))
        return len(opened)

    async def _submit(self, submission: Submission) -> tuple[Receipt, ...]:
        if not self._running:
            raise AuditUnavailableError("The audit log is closed.")
        future: asyncio.Future[tuple[Receipt, ...]] = asyncio.get_running_loop().create_future()
        self._waiting[id(submission)] = (submission, future)
        self._entries += len(submission.entries)
        self._characters += submission.characters
        self._writer.submit(submission)
        return await future

    def _settle(self, batch: list[Submission]) -> None:
        for submission in batch:
            self._entries -= len(submission.entries)
            self._characters -= submission.characters
            _, future = self._waiting.pop(id(submission), (None, None))
            if future is None or future.done():
                continue
            if submission.error is None:
                future.set_result(submission.receipts)
            else:
                future.set_exception(submission.error)
        self._on_durable(sum(len(submission.receipts) for submission in batch))


def _writer_for(engine: AsyncEngine, master_key: MasterKey, settle: Settle, limits: LogLimits) -> Writer:
    writer_id = RisingIds().next()
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "")
        return SqliteWriter(path, writer_id, master_key, settle, busy_timeout_s=limits.lock_wait_s)
    _, options = engine.dialect.create_connect_args(engine.url)
    return PostgresWriter(dict(options), writer_id, master_key, settle, lock_wait_s=limits.lock_wait_s)


def _interrupted(opened: Entry, delivered: int) -> Entry:
    """Return the closing record of a turn whose process ended: as it was opened, and how much was shown."""
    return Entry(
        kind=Kind.TURN_INTERRUPTED,
        at=datetime.now(UTC),
        subject=opened.subject,
        turn_id=opened.turn_id,
        conversation_id=opened.conversation_id,
        name=opened.name,
        groups=opened.groups,
        roles=opened.roles,
        surface=opened.surface,
        trace_id=opened.trace_id,
        model=opened.model,
        model_revision=opened.model_revision,
        verdict=opened.verdict,
        reason="process_ended",
        policy_hash=opened.policy_hash,
        classifier_hash=opened.classifier_hash,
        length=delivered,
    )
