"""Pruning: records that are older than the retention time are emptied in place; their hashes stay, so proofs verify.

What is pruned is old enough, has its place under a signed checkpoint (one that stands outside, where anchors are
configured), is delivered (where a search store is), is what was hashed, and is not held. The records of a turn go
together. A batch is one transaction: rows, texts, projections and the `retention.pruned` records that name exactly the
indices that were emptied. Records that say what was done with the log (`KEPT`) stay for good: they are few, hold no
text, and pruned records are honest only because of them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column, entry_of
from audit.covered import abouts_of
from audit.governing import GoverningError, Governor, moment, now_us, rfc3339
from audit.hold import About, Hold, in_force
from audit.pruning import (
    TURN_KINDS,
    Record,
    Turn,
    check_leaves,
    contiguous,
    empty,
    filled,
    of_turns,
    parts,
    records,
    turn_rows,
)
from audit.record import Entry, Kind
from audit.sweeping import TextSweep
from audit.tables import ANCHOR, AUDIT_CHECKPOINT, AUDIT_ENTRY, OUTBOX

MINIMUM = timedelta(days=180)
"""What the law asks for; the database refuses to empty anything younger."""
KEPT = frozenset(
    {
        *(Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.SUBJECT_ERASED, Kind.RETENTION_PRUNED),
        *(
            Kind.POLICY_PROPOSED,
            Kind.POLICY_ACTIVATED,
            Kind.MODEL_ACTIVATED,
            Kind.KEY_ROTATED,
            Kind.CHECKPOINT_ANCHORED,
        ),
        *(Kind.APPROVAL_REQUESTED, Kind.APPROVAL_DECIDED),
    }
)
"""Kinds that are never pruned."""
_MARGIN = timedelta(minutes=1)
"""How much longer than promised records are kept: the database's clock may go a little behind ours."""
PAGE = 1000
"""Records that are looked at, and at most about pruned, in one transaction."""


class Keeping(msgspec.Struct, frozen=True):
    """What this installation demands before a record is pruned."""

    retention: timedelta
    delivery: bool = False
    """A search store is configured: what was not delivered stays."""
    places: tuple[str, ...] = ()
    """Anchors that are configured: a checkpoint must stand in each of them."""

    def check(self) -> None:
        """Raise `GoverningError` when it keeps for less than `MINIMUM`."""
        if self.retention < MINIMUM:
            raise GoverningError(f"Records are kept for at least {MINIMUM.days} days.")


class Pruned(msgspec.Struct):
    """What a run did, or would do; records, not turns."""

    before: datetime
    pruned: int = 0
    held: int = 0
    undelivered: int = 0
    unproven: int = 0
    """Old enough, but without a place under a checkpoint, or that checkpoint does not stand outside yet."""
    waiting: int = 0
    """Of a turn that is still open, or of which another record cannot go yet."""
    ranges: int = 0
    texts: int = 0
    """Dialogue texts that no record refers to any more."""


class AboutTurns(Protocol):
    """What other parts of the product keep of turns in the same database."""

    async def forget(self, connection: AsyncConnection, turn_ids: Sequence[str]) -> None:
        """Remove what was kept of turns, in the transaction that prunes them."""


class Retention:
    """Prunes. One run at a time is enough; several do no harm."""

    def __init__(self, governor: Governor, keeping: Keeping, about_turns: Sequence[AboutTurns] = ()) -> None:
        """Raise `GoverningError` when `keeping` is too short."""
        keeping.check()
        self._governor = governor
        self._keeping = keeping
        self._about_turns = about_turns

    async def run(self, *, dry: bool = False) -> Pruned:
        """Prune what is due; with `dry` only say what would be. What was done before an error stands.

        Raises `AuditIntegrityError` when a record is not what was hashed (it is evidence: it stays, and so does what
        comes after it), `AuditUnavailableError`, `GoverningError`.
        """
        cutoff = now_us() - int((self._keeping.retention + _MARGIN).total_seconds()) * 1_000_000
        done = Pruned(before=moment(cutoff))
        async for first, last in self._pages(cutoff):
            async with self._governor.reading() if dry else self._governor.transaction() as connection:
                await self._prune(connection, (first, last), cutoff, done, dry=dry)
        if not dry:
            done.texts = await TextSweep(self._governor).run()
        return done

    async def _pages(self, cutoff: int) -> AsyncIterator[tuple[int, int]]:
        """Yield the index ranges in which anything is old enough and not empty, a page each."""
        entry, at = AUDIT_ENTRY.c, -1
        while True:
            query = (
                select(entry.leaf_index, entry.at_us, (func.length(entry.leaf) > 0).label("filled"), entry.kind)
                .where(entry.leaf_index > at)
                .order_by(entry.leaf_index)
                .limit(PAGE)
            )
            async with self._governor.reading() as connection:
                rows = (await connection.execute(query)).all()
            if not rows:
                return
            if any(row.filled and row.at_us < cutoff and row.kind not in KEPT for row in rows):
                yield rows[0].leaf_index, rows[-1].leaf_index
            at = rows[-1].leaf_index

    async def _prune(
        self, connection: AsyncConnection, page: tuple[int, int], cutoff: int, done: Pruned, *, dry: bool
    ) -> None:
        await _check_clock(connection, cutoff, postgresql=self._governor.postgresql)
        rows = await self._due(connection, page, cutoff, done)
        if dry:  # what belongs to a turn of this page and stands in another counts there
            rows = [row for row in rows if page[0] <= row.leaf_index <= page[1]]
        ranges = contiguous([row.leaf_index for row in rows])
        done.pruned += len(rows)
        done.ranges += len(ranges)
        if rows and not dry:
            await empty(connection, rows)
            for part in self._about_turns:
                await part.forget(connection, sorted({row.turn_id for row in rows if row.kind in TURN_KINDS}))
            before = rfc3339(cutoff)
            await self._governor.record(connection, *(_record(first, last, before) for first, last in ranges))

    async def _due(self, connection: AsyncConnection, page: tuple[int, int], cutoff: int, done: Pruned) -> list[Record]:
        """Return the records of a page that go, with what else belongs to their turns."""
        entry = AUDIT_ENTRY.c
        query = records().where(entry.leaf_index.between(*page), entry.at_us < cutoff, filled())
        found = [row for row in (await connection.execute(query)).all() if row.kind not in KEPT]
        turns = {row.turn_id for row in found if row.turn_id and row.kind in TURN_KINDS}
        whole = await of_turns(connection, turns)
        candidates = {row.entry_id: row for row in (*found, *(row for several in whole.values() for row in several))}
        await asyncio.to_thread(check_leaves, list(candidates.values()))
        known = await turn_rows(connection, {row.turn_id for row in candidates.values() if row.turn_id})
        reasons = await self._reasons(connection, list(candidates.values()), cutoff, known)
        for turn in whole.values():  # together or not at all
            stays = next((reasons[row.entry_id] for row in turn if row.entry_id in reasons), "")
            if stays:
                reasons |= {row.entry_id: reasons.get(row.entry_id, "waiting") for row in turn}
        for row in found:
            if (reason := reasons.get(row.entry_id, "")) and reason != "young":
                setattr(done, reason, getattr(done, reason) + 1)
        return [row for row in candidates.values() if row.entry_id not in reasons]

    async def _reasons(
        self, connection: AsyncConnection, rows: Sequence[Record], cutoff: int, turns: dict[str, "Turn"]
    ) -> dict[str, str]:
        """Return why records stay, by entry id; those that may go are not in it."""
        holds = await in_force(connection)
        abouts = await abouts_of(connection, turns) if any(hold.of_turns for hold in holds) else {}
        proven = await self._proven(connection)
        waiting = await self._undelivered(connection, rows)
        reasons = {}
        for row in rows:
            turn = turns.get(row.turn_id)
            if row.at_us >= cutoff:
                reasons[row.entry_id] = "young"
            elif turn is not None and row.kind in TURN_KINDS and not turn.closed:
                reasons[row.entry_id] = "waiting"
            elif row.leaf_index is None or row.leaf_index >= proven:
                reasons[row.entry_id] = "unproven"
            elif row.entry_id in waiting:
                reasons[row.entry_id] = "undelivered"
            elif _held(holds, row, turn, abouts.get(row.turn_id)):
                reasons[row.entry_id] = "held"
        return reasons

    async def _proven(self, connection: AsyncConnection) -> int:
        """Return the size of the largest signed tree that stands in every configured place."""
        size = (await connection.execute(select(func.max(AUDIT_CHECKPOINT.c.tree_size)))).scalar() or 0
        for place in self._keeping.places:
            anchored = select(func.max(ANCHOR.c.tree_size)).where(ANCHOR.c.place == place)
            size = min(size, (await connection.execute(anchored)).scalar() or 0)
        return int(size)

    async def _undelivered(self, connection: AsyncConnection, rows: Sequence[Record]) -> set[str]:
        if not self._keeping.delivery:
            return set()
        found: set[str] = set()
        for part in parts([row.entry_id for row in rows]):
            query = select(OUTBOX.c.entry_id).where(OUTBOX.c.entry_id.in_(part))
            found.update((await connection.execute(query)).scalars())
        return found


def _held(holds: Sequence[Hold], row: Record, turn: Turn | None, about: About | None) -> bool:
    if not holds:
        return False
    conversation = turn.conversation_id if turn else column(entry_of(row.leaf).conversation_id)
    times = {row.at_us, turn.opened_us} if turn else {row.at_us}
    return any(hold.covers(row.subject, conversation, at, about) for hold in holds for at in times)


async def _check_clock(connection: AsyncConnection, cutoff: int, *, postgresql: bool) -> None:
    """Raise `GoverningError` when, by the database's clock, the time before which all goes is not long enough ago."""
    ask = "SELECT extract(epoch FROM clock_timestamp())" if postgresql else "SELECT strftime('%s', 'now')"
    database = int(float((await connection.execute(text(ask))).scalar_one()))
    if cutoff > (database - int(MINIMUM.total_seconds())) * 1_000_000:
        raise GoverningError("The database's clock is behind this machine's: nothing is pruned until they agree.")


def _record(first: int, last: int, before: str) -> Entry:
    detail: dict[str, str | int | float | bool] = {
        "first": first,
        "last": last,
        "count": last - first + 1,
        "before": before,
    }
    return Entry(kind=Kind.RETENTION_PRUNED, at=moment(now_us()), subject="attest", detail=detail)
