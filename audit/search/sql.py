"""Search in SQL: metadata by index, texts by decrypting and reading what the other filters leave."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.canonical import column
from audit.keys import MasterKey
from audit.ports import AuditIntegrityError, TurnSummary, TurnTrail
from audit.readers import Readers, TurnEnds
from audit.search.counts import count_turns
from audit.search.ports import ALTERED, Counts, Position, TurnPage
from audit.search.positions import Positions, find_positions
from audit.search.query import TurnQuery
from audit.search.reading import reading
from audit.search.words import Phrase

READ_AT_ONCE = 50
"""Turns whose texts are in memory at the same time."""
READ_FOR_A_PAGE = 1000
"""Turns whose texts one page of a text search reads at most."""
READINGS = 2
"""Text searches that read at the same time; more wait."""
SOURCE = "sql"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqlTurnSearch:
    """Search over the log's own tables. Implements `audit.search.ports.TurnSearch`."""

    def __init__(self, engine: AsyncEngine, master: MasterKey) -> None:
        """`engine` only reads."""
        self._engine = engine
        self._readers = Readers(engine, master)
        self._reading = asyncio.Semaphore(READINGS)

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:
        """Return the next turns; see `audit.search.ports.TurnSearch`."""
        positions = await self.positions(query, after, limit)
        return TurnPage(await self._summaries(positions.found), positions.reached, SOURCE)

    async def listed(self, turn_ids: Sequence[str]) -> tuple[TurnSummary, ...]:
        """Return the lines of turns by their ids (as columns hold them), in that order; those that there are."""
        return await self._summaries([Position(0, turn_id) for turn_id in turn_ids]) if turn_ids else ()

    async def positions(self, query: TurnQuery, after: Position | None, limit: int) -> Positions:
        """Return where the next turns stand, without what a list says of them."""
        if query.text:
            async with self._reading:
                return await self._read_through(query, after, limit)
        async with reading(self._engine) as connection:
            return await find_positions(connection, query, after, limit)

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:
        """Count turns; see `audit.search.ports.TurnSearch`."""
        async with reading(self._engine) as connection:
            return await count_turns(connection, query, bar_seconds)

    async def _read_through(self, query: TurnQuery, after: Position | None, limit: int) -> Positions:
        """Read the texts of candidates until a page is full or `READ_FOR_A_PAGE` were read."""
        phrase, found, read, place = Phrase(query.text), list[Position](), 0, after
        while True:
            async with reading(self._engine) as connection:
                candidates = await find_positions(connection, query, place, READ_AT_ONCE)
            holding = await self._holding(candidates.found, phrase)
            read += len(candidates.found)
            for position in candidates.found:
                place = position
                if position in holding:
                    found.append(position)
                if len(found) == limit:
                    break
            else:
                place = candidates.reached
            if place is None or len(found) == limit or read >= READ_FOR_A_PAGE:
                last = candidates.reached is None and candidates.found[-1:] == (place,)
                return Positions(tuple(found), None if last else place)

    async def _holding(self, positions: Sequence[Position], phrase: Phrase) -> set[Position]:
        """Return those whose texts hold the phrase; a turn with an altered record counts, so that somebody looks."""
        ends = await self._readers.ends([one.id for one in positions])
        ids: dict[str, Position] = {}
        altered = set()
        for position in positions:
            try:
                ids[ends[position.id].summary().turn_id] = position
            except AuditIntegrityError:
                altered.add(position)
            except KeyError:  # pruned meanwhile
                continue
        try:
            trails = await self._readers.trails(tuple(ids), dialogues=False)
        except AuditIntegrityError:
            trails = await self._one_by_one(ids, altered)
        hits = await asyncio.to_thread(lambda: [turn_id for turn_id, trail in trails.items() if _holds(trail, phrase)])
        return altered | {ids[turn_id] for turn_id in hits}

    async def _one_by_one(self, ids: dict[str, Position], altered: set[Position]) -> dict[str, TurnTrail]:
        trails: dict[str, TurnTrail] = {}
        for turn_id, position in ids.items():
            try:
                trails |= await self._readers.trails((turn_id,), dialogues=False)
            except AuditIntegrityError:
                altered.add(position)
        return trails

    async def _summaries(self, positions: Sequence[Position]) -> tuple[TurnSummary, ...]:
        ends = await self._readers.ends([one.id for one in positions]) if positions else {}
        found = [ends[one.id] for one in positions if one.id in ends]
        return await asyncio.to_thread(lambda: tuple(_summary(one) for one in found))


def texts_of(trail: TurnTrail) -> Iterator[str]:
    """Yield the texts of a turn that a search looks into: its own, not those of the dialogue before it."""
    yield from (trail.message, trail.generated, trail.withheld, trail.delivered)


def _holds(trail: TurnTrail, phrase: Phrase) -> bool:
    return any(phrase.stands_in(text) for text in texts_of(trail) if text)


def _summary(ends: TurnEnds) -> TurnSummary:
    """Return a turn's line; what is not as it was written is listed all the same, and says so."""
    try:
        summary = ends.summary()
    except AuditIntegrityError:
        summary = None
    if summary is None or column(summary.turn_id) != ends.turn_id:
        at = _EPOCH + timedelta(microseconds=ends.opened_us)
        return TurnSummary(turn_id=ends.turn_id, at=at, subject=ends.subject, verdict="", reason=ALTERED)
    return summary
