"""What is still to be delivered: rows written with each record, claimed for a while, taken away when delivered.

A claim is a lease: it moves `due_us` forward, so that what a dead process had claimed becomes due again by itself.
Records that have no place in the log yet are left alone. Dead letters stay until somebody asks for another try.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, exists, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.elastic.families import months_between
from audit.ports import AuditUnavailableError
from audit.tables import AUDIT_ENTRY, OUTBOX

NEVER_US = 2**63 - 1
"""`due_us` of a dead letter."""
LEASE_S = 180.0
"""How long a claim holds, in seconds; whoever claims must be done, or have given up, well before."""
LATEST_S = 900.0
"""No row waits longer than this for another try; one that would, waits because a clock stepped back."""
_PAGE = 10_000
_WEEK_US = 7 * 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Claim(msgspec.Struct, frozen=True):
    """A record to deliver, and how often that was tried."""

    entry_id: str
    attempts: int


class Delay(msgspec.Struct, frozen=True):
    """When to try again, and why not now (a stable code)."""

    due_us: int
    reason: str


class OutboxState(msgspec.Struct, frozen=True):
    """How far delivery is."""

    pending: int
    """Records that wait, dead letters not counted."""
    dead_letters: int
    lag_seconds: float
    """Age of the oldest record that waits; 0 when none does."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that the search store refuses."""

    entry_id: str
    leaf_index: int
    kind: str
    at_us: int
    attempts: int
    reason: str
    """Stable code and status, or what of the record was altered."""
    dead_us: int


class Outbox:
    """The outbox of a log. Raises `AuditUnavailableError` when the database cannot be used."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # SQLite lets one write at a time, and who waits looks again every tenth of a second and may never be lucky:
        # here the lanes of a process stand in line.
        self._turns: asyncio.Lock | contextlib.nullcontext[None] = (
            asyncio.Lock() if engine.dialect.name == "sqlite" else contextlib.nullcontext()
        )

    async def claim(self, limit: int) -> tuple[Claim, ...]:
        """Claim at most `limit` records, those that were tried before first, then the oldest."""
        now = _now_us()
        async with self._reading() as connection:  # takes no write lock when there is nothing to do
            if not await _due(connection, OUTBOX.c.due_us <= now, 1):
                return ()
        async with self._writing() as connection:
            tried = await _due(connection, OUTBOX.c.due_us.between(1, now), (limit + 1) // 2)
            fresh = await _due(connection, OUTBOX.c.due_us <= 0, limit - len(tried))
            claims = (*tried, *fresh)
            if claims:
                await _set_due(connection, [one.entry_id for one in claims], now + int(LEASE_S * 1e6))
        return claims

    async def settle(
        self, done: Sequence[str], later: Mapping[str, Delay] | None = None, dead: Mapping[str, str] | None = None
    ) -> None:
        """Take away what is delivered, delay what must wait, and keep what is refused as dead letters."""
        changes = [
            {"row": entry_id, "due": delay.due_us, "why": delay.reason, "since": None}
            for entry_id, delay in (later or {}).items()
        ]
        now = _now_us()
        changes += [
            {"row": entry_id, "due": NEVER_US, "why": why, "since": now} for entry_id, why in (dead or {}).items()
        ]
        async with self._writing() as connection:
            if done:
                await connection.execute(delete(OUTBOX).where(OUTBOX.c.entry_id.in_(done)))
            if changes:
                await connection.execute(_CHANGE, changes)

    async def give_back(self, entry_ids: Sequence[str]) -> None:
        """End claims without a try: nothing was learnt about these records."""
        if entry_ids:
            async with self._writing() as connection:
                await _set_due(connection, entry_ids, 0)

    async def state(self) -> OutboxState:
        """Count what waits; also makes due what would wait too long because a clock stepped back."""
        now = _now_us()
        too_late = OUTBOX.c.due_us > now + int((LEASE_S + LATEST_S) * 1e6)
        waits = OUTBOX.c.dead_us.is_(None)
        async with self._reading() as connection:
            pending = (await connection.execute(select(func.count()).where(waits))).scalar_one()
            dead = (await connection.execute(select(func.count()).where(OUTBOX.c.dead_us.is_not(None)))).scalar_one()
            oldest = select(AUDIT_ENTRY.c.at_us).join(OUTBOX, OUTBOX.c.entry_id == AUDIT_ENTRY.c.entry_id)
            at_us = (await connection.execute(oldest.where(waits).order_by(OUTBOX.c.entry_id).limit(1))).scalar()
            stuck = (await connection.execute(select(exists().where(waits, too_late)))).scalar()
        if stuck:
            async with self._writing() as connection:
                await connection.execute(update(OUTBOX).where(waits, too_late).values(due_us=0))
        return OutboxState(pending, dead, max(0.0, (now - at_us) / 1e6) if at_us is not None else 0.0)

    async def times(self, since: datetime = _EPOCH) -> tuple[datetime, ...]:
        """Return times that touch each month of which something may be (or has to be) in the search store, rising.

        These are the month of the oldest record that is not pruned, but none before `since`; every month after it; and
        whatever their age those of what waits, dead letters not counted.
        """
        entry = AUDIT_ENTRY.c
        oldest = select(entry.at_us).where(func.length(entry.leaf) > 0).order_by(entry.entry_id).limit(1)
        ends = (  # a week touches two months at most, its first and its last record touch no other
            select(func.min(entry.at_us), func.max(entry.at_us))
            .join(OUTBOX, OUTBOX.c.entry_id == entry.entry_id)
            .where(OUTBOX.c.dead_us.is_(None))
            .group_by(entry.at_us // _WEEK_US)
        )
        async with self._reading() as connection:
            first_us = (await connection.execute(oldest)).scalar()
            waiting = [at_us for week in (await connection.execute(ends)).all() for at_us in week]
        found = {_EPOCH + timedelta(microseconds=at_us) for at_us in waiting}
        now = datetime.now(UTC)
        if first_us is not None:
            found.update(months_between(max(since, _EPOCH + timedelta(microseconds=first_us)), now))
        return tuple(sorted({*found, now}))

    async def dead_letters(self, limit: int) -> tuple[DeadLetter, ...]:
        """Return dead letters, oldest record first."""
        entry, out = AUDIT_ENTRY.c, OUTBOX.c
        query = (
            select(entry.entry_id, entry.leaf_index, entry.kind, entry.at_us, out.attempts, out.error, out.dead_us)
            .join(OUTBOX, out.entry_id == entry.entry_id)
            .where(out.dead_us.is_not(None))
            .order_by(out.entry_id)
            .limit(limit)
        )
        async with self._reading() as connection:
            return tuple(DeadLetter(*row) for row in (await connection.execute(query)).all())

    async def retry(self, entry_ids: Sequence[str] = ()) -> int:
        """Make dead letters due again, all of them when none is named; return how many."""
        change = update(OUTBOX).where(OUTBOX.c.dead_us.is_not(None)).values(dead_us=None, due_us=0, error="")
        if entry_ids:
            change = change.where(OUTBOX.c.entry_id.in_(entry_ids))
        async with self._writing() as connection:
            return (await connection.execute(change)).rowcount

    async def put_back(self, since_us: int, until_us: int) -> int:
        """Queue records of a time range again, as after the loss of an index; return how many were not queued already.

        What is there already is not made twice: the search store knows it by its id.
        """
        entry, count, after = AUDIT_ENTRY.c, 0, ""
        while True:
            page = (
                select(entry.entry_id)
                .where(entry.entry_id > after, entry.at_us >= since_us, entry.at_us < until_us)
                .where(func.length(entry.leaf) > 0, entry.leaf_index.is_not(None))
                .order_by(entry.entry_id)
                .limit(_PAGE)
            )
            async with self._writing() as connection:
                ids = (await connection.execute(page)).scalars().all()
                there = set(await _present(connection, ids))
                missing = [{"entry_id": one} for one in ids if one not in there]
                if missing:
                    await connection.execute(insert(OUTBOX), missing)
            count += len(missing)
            if len(ids) < _PAGE:
                return count
            after = ids[-1]

    async def hasten(self, since_us: int, until_us: int) -> int:
        """Make due at once what waits of a time range, dead letters not; return how many records wait there."""
        entry = AUDIT_ENTRY.c
        # Each waiting row looks its record up: the log is far longer than the outbox, and has no index of times alone.
        there = exists().where(entry.entry_id == OUTBOX.c.entry_id, entry.at_us >= since_us, entry.at_us < until_us)
        change = update(OUTBOX).where(OUTBOX.c.dead_us.is_(None), there).values(due_us=0)
        async with self._writing() as connection:
            return (await connection.execute(change)).rowcount

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with _said_plainly():
            async with self._engine.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._turns:
            with _said_plainly():
                async with self._engine.begin() as connection:
                    yield connection


_CHANGE = (
    update(OUTBOX)
    .where(OUTBOX.c.entry_id == bindparam("row"))
    .values(due_us=bindparam("due"), attempts=OUTBOX.c.attempts + 1, error=bindparam("why"), dead_us=bindparam("since"))
)


@contextlib.contextmanager
def _said_plainly() -> Any:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise AuditUnavailableError(f"The outbox cannot be used now ({type(error).__name__}).") from error


async def _due(connection: AsyncConnection, which: Any, limit: int) -> tuple[Claim, ...]:
    query = (
        select(OUTBOX.c.entry_id, OUTBOX.c.attempts)
        .join(AUDIT_ENTRY, AUDIT_ENTRY.c.entry_id == OUTBOX.c.entry_id)
        .where(which, AUDIT_ENTRY.c.leaf_index.is_not(None))
        .order_by(OUTBOX.c.due_us, OUTBOX.c.entry_id)
        .limit(limit)
        .with_for_update(of=OUTBOX, skip_locked=True)
    )
    return tuple(Claim(row.entry_id, row.attempts) for row in (await connection.execute(query)).all())


async def _set_due(connection: AsyncConnection, entry_ids: Sequence[str], due_us: int) -> None:
    await connection.execute(update(OUTBOX).where(OUTBOX.c.entry_id.in_(entry_ids)).values(due_us=due_us))


async def _present(connection: AsyncConnection, entry_ids: Sequence[str]) -> Sequence[str]:
    if not entry_ids:
        return ()
    query = select(OUTBOX.c.entry_id).where(OUTBOX.c.entry_id.between(entry_ids[0], entry_ids[-1]))
    return (await connection.execute(query)).scalars().all()


def _now_us() -> int:
    return time.time_ns() // 1000
