"""What legal holds cover in the database, as the transactions that prune and erase see it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column, entry_of
from audit.facets import facets_of
from audit.hold import About, Hold, in_force
from audit.pruning import Record, Turn, of_turns, parts
from audit.tables import AUDIT_ENTRY, AUDIT_FACET, AUDIT_TURN, HOLD_TURN

_PAGE = 500


class KeptOfPerson(Protocol):
    """What other parts of the product keep of a person in the same database."""

    async def covered(self, connection: AsyncConnection, subject: str, hold: Hold) -> bool:
        """Whether a hold that does not exclude the person covers any of it."""


async def holds_on(connection: AsyncConnection, subject: str, kept: Sequence[KeptOfPerson] = ()) -> tuple[Hold, ...]:
    """Return the holds in force that cover anything of a person (as the columns hold it), in the log or `kept`."""
    holds = await in_force(connection)
    return tuple([hold for hold in holds if await _touches(connection, hold, subject, kept)])


async def _touches(connection: AsyncConnection, hold: Hold, subject: str, kept: Sequence[KeptOfPerson]) -> bool:
    if hold.subject not in ("", subject):
        return False
    if not (hold.conversation_id or hold.of_turns) and hold.since_us is None and hold.until_us is None:
        return True
    turn, entry = AUDIT_TURN.c, AUDIT_ENTRY.c
    turns = and_(turn.subject == subject, *_of_turn(hold), within(turn.opened_us, hold))
    if (await connection.execute(select(exists().where(turns)))).scalar():
        return True
    if await _any_record(connection, hold, entry.subject == subject, within(entry.at_us, hold)):
        return True
    return not hold.of_turns and any([await part.covered(connection, subject, hold) for part in kept])


async def holds_between(connection: AsyncConnection, begin_us: int, end_us: int) -> tuple[Hold, ...]:
    """Return the holds in force that cover a record of a stretch of time that still has its leaf."""
    holds = await in_force(connection)
    return tuple([hold for hold in holds if await _covers_some(connection, hold, begin_us, end_us)])


async def _covers_some(connection: AsyncConnection, hold: Hold, begin_us: int, end_us: int) -> bool:
    entry, turn = AUDIT_ENTRY.c, AUDIT_TURN.c
    where = [entry.at_us >= begin_us, entry.at_us < end_us, func.length(entry.leaf) > 0]
    where.append(or_(within(entry.at_us, hold), within(turn.opened_us, hold)))
    if hold.subject:
        where.append(entry.subject == hold.subject)
    return await _any_record(connection, hold, *where)


async def _any_record(connection: AsyncConnection, hold: Hold, *where: ColumnElement[bool]) -> bool:
    """Whether there is a record of a turn that fits (any record, where all turns do), and that is so."""
    entry, turn = AUDIT_ENTRY.c, AUDIT_TURN.c
    query = select(entry.entry_id).outerjoin(AUDIT_TURN, turn.turn_id == entry.turn_id).where(*where)
    if (await connection.execute(query.where(*_of_turn(hold)).limit(1))).first() is not None:
        return True
    return bool(hold.conversation_id) and not hold.of_turns and await _any_leaf(connection, hold, *where)


async def _any_leaf(connection: AsyncConnection, hold: Hold, *where: ColumnElement[bool]) -> bool:
    """Whether there is such a record of a turn that was pruned: then its own leaf alone says of which conversation."""
    entry, turn, after = AUDIT_ENTRY.c, AUDIT_TURN.c, ""
    while True:
        query = (
            select(entry.entry_id, entry.leaf)
            .outerjoin(AUDIT_TURN, turn.turn_id == entry.turn_id)
            .where(*where, turn.turn_id.is_(None), entry.turn_id != "", func.length(entry.leaf) > 0)
            .where(entry.entry_id > after)
            .order_by(entry.entry_id)
            .limit(_PAGE)
        )
        rows = (await connection.execute(query)).all()
        if any(column(entry_of(row.leaf).conversation_id) == hold.conversation_id for row in rows):
            return True
        if len(rows) < _PAGE:
            return False
        after = rows[-1].entry_id


def _of_turn(hold: Hold) -> list[ColumnElement[bool]]:
    """Return the conditions that a turn is one that the hold covers, whoever's and whenever."""
    turn, facet, named = AUDIT_TURN.c, AUDIT_FACET.c, HOLD_TURN.c
    conditions = [turn.conversation_id == hold.conversation_id] if hold.conversation_id else []
    conditions += [turn.verdict == hold.verdict] if hold.verdict else []
    for name, value in hold.facets:
        has = (facet.facet == name, facet.value == value, facet.opened_us == turn.opened_us)
        conditions.append(exists().where(*has, facet.turn_id == turn.turn_id))
    if hold.turns:
        conditions.append(exists().where(named.hold_id == hold.hold_id, named.turn_id == turn.turn_id))
    return conditions


async def abouts_of(connection: AsyncConnection, turns: Mapping[str, Turn]) -> dict[str, About]:
    """Return what each of some turns can be held by. Facets are read from the leaves: those alone are evidence."""
    named: dict[str, set[str]] = {}
    for part in parts(sorted(turns)):
        for row in await connection.execute(select(HOLD_TURN).where(HOLD_TURN.c.turn_id.in_(part))):
            named.setdefault(row.turn_id, set()).add(row.hold_id)
    records = await of_turns(connection, set(turns))
    return {turn_id: _about(turns[turn_id], records.get(turn_id, ()), named.get(turn_id, ())) for turn_id in turns}


def _about(turn: Turn, records: Iterable[Record], named_by: Iterable[str]) -> About:
    facets = frozenset(facet for record in records for facet in facets_of(entry_of(record.leaf)))
    return About(turn.verdict, facets, frozenset(named_by))


def within(at: ColumnElement[int], hold: Hold) -> ColumnElement[bool]:
    """Return the condition that a time (microseconds since 1970 UTC) is in the stretch that a hold restricts to."""
    since = at >= hold.since_us if hold.since_us is not None else at.is_not(None)
    return and_(since, at < hold.until_us) if hold.until_us is not None else since
