"""Turns that want a reviewer, picked out of the log once, in the order of their places in it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import Governor, now_us
from audit.ports import AuditIntegrityError
from audit.record import CLOSING_KINDS, Entry, Kind
from audit.tables import AUDIT_ENTRY
from audit.trail import checked_entry
from gateway.review.records import Source
from gateway.review.store import Reviews
from gateway.review.tables import REVIEW, REVIEW_PROGRESS
from safety.verdict import Action, Band

AT_ONCE = 1000
"""Records that one step looks at."""
EVERY_S = 5.0
NEWER_THAN = timedelta(days=30)
"""Turns that were older when the queue came to them are left: nobody waits for them."""
_NAME = "turns"
_KINDS = {kind.value for kind in CLOSING_KINDS} | {Kind.TURN_ACCEPTED.value}
_STOPPED = (Action.BLOCK.value, Action.ESCALATE.value)


class Collector:
    """Fills the queue from the log. Several gateways may run one each: every record is looked at once."""

    def __init__(self, governor: Governor, reviews: Reviews) -> None:
        self._governor = governor
        self._reviews = reviews

    async def run(self, on_fault: Callable[[Exception], None]) -> None:
        """Look through the log for ever; `on_fault` hears of what fails and is tried again."""
        while True:
            try:
                behind = await self.step()
            except Exception as error:  # noqa: BLE001 - the next round tries again
                on_fault(error)
                behind = 0
            await asyncio.sleep(0 if behind == AT_ONCE else EVERY_S)

    async def step(self) -> int:
        """Look at the next records; return how many there were. Raises `AuditUnavailableError`."""
        async with self._governor.reading() as connection:
            if not await _rows(connection, await _next(connection), 1):
                return 0
        async with self._governor.transaction() as connection:
            first = await _next(connection)
            rows = await _rows(connection, first, AT_ONCE)
            if not rows:
                return 0
            for entry in await asyncio.to_thread(_wanted, rows):
                await self._take(connection, entry)
            reached = {"next_index": rows[-1].leaf_index + 1}
            if first:
                await connection.execute(update(REVIEW_PROGRESS).values(**reached))
            else:
                await connection.execute(insert(REVIEW_PROGRESS).values(name=_NAME, **reached))
            return len(rows)

    async def _take(self, connection: AsyncConnection, entry: Entry) -> None:
        table = REVIEW.c
        known = (await connection.execute(select(REVIEW).where(table.turn_id == entry.turn_id))).first()
        source, blocked = _source(entry), entry.verdict in _STOPPED
        if known is not None:
            changed: dict[str, object] = {"blocked": bool(known.blocked) or blocked}
            if source is Source.ESCALATED and known.source == Source.UNCERTAIN:
                changed["source"] = source.value
            await connection.execute(update(REVIEW).where(table.turn_id == entry.turn_id).values(**changed))
        elif source is not None:
            values = {
                "turn_id": entry.turn_id,
                "subject": entry.subject,
                "conversation_id": entry.conversation_id,
                "source": source.value,
                "opened_us": int(entry.at.timestamp() * 1_000_000),
                "blocked": blocked,
                "twice": self._reviews.looked_at_twice(entry.turn_id),
            }
            await connection.execute(insert(REVIEW).values(**values))


async def _next(connection: AsyncConnection) -> int:
    found = (await connection.execute(select(REVIEW_PROGRESS.c.next_index))).scalar()
    return int(found or 0)


async def _rows(connection: AsyncConnection, first: int, limit: int) -> Sequence[Any]:
    entry = AUDIT_ENTRY.c
    query = select(entry.leaf_index, entry.kind, entry.at_us, entry.leaf, entry.leaf_hash)
    query = query.where(entry.leaf_index >= first).order_by(entry.leaf_index).limit(limit)
    return (await connection.execute(query)).all()


def _wanted(rows: Sequence[Any]) -> list[Entry]:
    """Return the records of turns that may want a reviewer, or that end one which does."""
    oldest = now_us() - NEWER_THAN // timedelta(microseconds=1)
    found = []
    for row in rows:
        if row.kind not in _KINDS or row.at_us < oldest or not row.leaf:
            continue
        try:
            entry = checked_entry(row.leaf, row.leaf_hash)
        except AuditIntegrityError:
            continue  # `attest audit fsck` names it
        if _source(entry) is not None or entry.verdict in _STOPPED:
            found.append(entry)
    return found


def _source(entry: Entry) -> Source | None:
    if entry.verdict == Action.ESCALATE:
        return Source.ESCALATED
    unsure = any(one.band == Band.UNCERTAIN and not one.shadow and one.where in _JUDGED for one in entry.findings)
    return Source.UNCERTAIN if unsure else None


_JUDGED = ("message", "answer", "")
"""Findings in earlier messages stand in their own turns."""
