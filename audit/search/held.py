"""What of the log's turns Elasticsearch holds: months that were dropped or lost, and what still waits to get there.

Counted by the times at which turns were opened, in microseconds, so that a search can be told how far it may ask there.
"""

import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.elastic.families import AUDIT, CONTENT, Family, months_between, next_month
from audit.facets import OPENING_KINDS
from audit.record import CLOSING_KINDS
from audit.rows import microseconds
from audit.search.reading import reading
from audit.tables import AUDIT_ENTRY, AUDIT_TURN, OUTBOX

LATE_S = 60.0
"""A record that waits for longer than this, in seconds, counts as missing, and so does a dead letter."""
KEPT_S = 30.0
"""How long an answer is taken as true, in seconds: it costs a request and some queries."""
MOST_LATE = 1000
"""Records that wait and are looked at one by one; with more of them, nothing counts as held."""
NEVER_US = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = sorted(kind.value for kind in OPENING_KINDS | CLOSING_KINDS)
"""Of records that a search goes by; others may wait as long as they like."""


class Held(msgspec.Struct, frozen=True):
    """What a store holds of the turns that the log has."""

    turns_from_us: int = 0
    """Of turns opened before, any may be missing."""
    texts_from_us: int = 0
    """Of turns opened before, any text may be missing."""
    late_us: tuple[int, ...] = ()
    """When single turns were opened of which a record is missing."""

    def last_gap(self, first_us: int, end_us: int, *, texts: bool) -> int | None:
        """Return the last moment from `first_us` on and before `end_us` of which something may be missing, or None."""
        held_from = max(self.turns_from_us, self.texts_from_us) if texts else self.turns_from_us
        gaps = [min(held_from, end_us) - 1, *(at for at in self.late_us if at < end_us)]
        return last if (last := max(gaps)) >= first_us else None


class Holdings:
    """Compares a store with the log, at most every `KEPT_S`."""

    def __init__(
        self,
        indices: Callable[[], Awaitable[Collection[str]]],
        engine: AsyncEngine,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is compared for a while; `indices` names the store's indices that hold anything."""
        self._indices = indices
        self._engine = engine
        self._monotonic = monotonic
        self._kept = Held()
        self._kept_until = float("-inf")

    async def held(self) -> Held:
        """Return what the store holds. Raises `AuditUnavailableError`, and what `indices` raises."""
        if self._monotonic() >= self._kept_until:
            self._kept = await self._compared()
            self._kept_until = self._monotonic() + KEPT_S
        return self._kept

    async def _compared(self) -> Held:
        indices = await self._indices()
        async with reading(self._engine) as connection:
            # Asked after the indices: what came into the log meanwhile is younger than LATE_S.
            settled_us = time.time_ns() // 1000 - int(LATE_S * 1e6)
            late = (await connection.execute(_late(settled_us))).scalars().all()
            if len(late) > MOST_LATE:
                return Held(NEVER_US, NEVER_US)
            first_us = (await connection.execute(_OLDEST)).scalar()
            if first_us is None:
                return Held(late_us=tuple(late))
            turns, texts = [
                await _held_from(connection, family, indices, first_us, settled_us) for family in (AUDIT, CONTENT)
            ]
        return Held(turns, texts, tuple(late))


_OLDEST = select(AUDIT_TURN.c.opened_us).order_by(AUDIT_TURN.c.opened_us).limit(1)


def _late(settled_us: int) -> Select[Any]:
    """Return the query of when turns were opened of which a record is late, at most `MOST_LATE` and one more.

    Each row of the outbox is looked up by its keys, the oldest first, whatever the planner makes of it: where delivery
    stands still, the first few say enough.
    """
    entry, waits = AUDIT_ENTRY.c, OUTBOX.c
    opened = (
        select(AUDIT_TURN.c.opened_us)
        .join(AUDIT_ENTRY, entry.turn_id == AUDIT_TURN.c.turn_id)
        .where(entry.entry_id == waits.entry_id, entry.kind.in_(_KINDS))
        .where(or_(waits.dead_us.is_not(None), entry.at_us < settled_us))
        .correlate(OUTBOX)
        .scalar_subquery()
    )
    rows = select(opened.label("opened_us")).select_from(OUTBOX).order_by(waits.entry_id).offset(0).subquery()
    return select(rows.c.opened_us).where(rows.c.opened_us.is_not(None)).limit(MOST_LATE + 1)


async def _held_from(
    connection: AsyncConnection, family: Family, indices: Collection[str], first_us: int, settled_us: int
) -> int:
    """Return the end of the last month that a family lacks and of which the log has turns; 0 where it lacks none."""
    first, settled = (_EPOCH + timedelta(microseconds=at) for at in (first_us, settled_us))
    for month in reversed(tuple(months_between(first, settled))):
        if family.index(month) in indices:
            continue
        end_us = microseconds(next_month(month))
        opened = AUDIT_TURN.c.opened_us
        turns = exists().where(opened >= microseconds(month), opened < min(end_us, settled_us))
        if (await connection.execute(select(turns))).scalar():
            return end_us
    return 0
