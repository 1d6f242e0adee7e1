"""Legal holds: what one covers is neither pruned nor erased, until it is released.

A hold names a case and what it covers: a person, a conversation, a stretch of time, or several of these together (then
all must fit). It is looked at inside the transactions that prune and erase.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from sqlalchemy import ColumnElement, Row, and_, exists, func, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column, entry_of
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us, rfc3339
from audit.record import Entry, Kind
from audit.rows import microseconds
from audit.tables import AUDIT_ENTRY, AUDIT_TURN, HOLD

MOST_CHARACTERS = 200
"""Longest case number and reason."""
_PAGE = 500


class HoldOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that is to be placed. Empty fields do not restrict; one that restricts nothing must say `everything`."""

    case_number: str
    reason: str
    subject: str = ""
    conversation_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    everything: bool = False

    def check(self) -> None:
        """Raise `GoverningError` that says what is wrong."""
        restricted = bool(self.subject or self.conversation_id or self.since or self.until)
        if restricted == self.everything:
            raise GoverningError("A hold names a person, a conversation or a time, or says that it covers everything.")
        if self.since and self.until and self.since >= self.until:
            raise GoverningError("A hold's time must begin before it ends.")
        check_case(self.case_number, self.reason)


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold as it stands; the times of what it covers and of itself in microseconds since 1970 UTC."""

    hold_id: str
    case_number: str
    reason: str
    subject: str
    """As the columns hold it."""
    conversation_id: str
    since_us: int | None
    until_us: int | None
    placed_by: str
    placed_us: int
    released_by: str = ""
    released_us: int | None = None

    def covers(self, subject: str, conversation_id: str, at_us: int) -> bool:
        """Whether something of this person and conversation (as the columns hold them) at this time is held."""
        return (
            self.subject in ("", subject)
            and self.conversation_id in ("", conversation_id)
            and (self.since_us is None or at_us >= self.since_us)
            and (self.until_us is None or at_us < self.until_us)
        )


class Holds:
    """Places, releases and lists holds. Each change is a record in the same transaction."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    async def place(self, order: HoldOrder, by: str) -> Hold:
        """Place a hold; in force when this returns. Raises `GoverningError`, `AuditUnavailableError`."""
        order.check()
        at = now_us()
        hold = Hold(
            hold_id=self._governor.new_id(),
            case_number=order.case_number,
            reason=order.reason,
            subject=column(order.subject),
            conversation_id=column(order.conversation_id),
            since_us=microseconds(order.since) if order.since else None,
            until_us=microseconds(order.until) if order.until else None,
            placed_by=by,
            placed_us=at,
        )
        async with self._governor.transaction() as connection:
            await connection.execute(insert(HOLD).values(**msgspec.structs.asdict(hold)))
            detail = {"hold_id": hold.hold_id, "case_number": hold.case_number, **_covered(hold)}
            await self._governor.record(
                connection, Entry(kind=Kind.HOLD_PLACED, at=moment(at), subject=by, detail=detail)
            )
        return hold

    async def release(self, hold_id: str, by: str, connection: AsyncConnection | None = None) -> Hold:
        """Release a hold, in a transaction that is open already or in one of its own.

        Raises `GoverningError` when there is none in force, `AuditUnavailableError`.
        """
        if connection is None:
            async with self._governor.transaction() as own:
                return await self.release(hold_id, by, own)
        found = (await connection.execute(select(HOLD).where(HOLD.c.hold_id == hold_id))).first()
        if found is None:
            raise UnknownError("There is no such hold.")
        if found.released_us is not None:
            raise GoverningError(f"There is no hold {hold_id} in force.")
        at = now_us()
        values = {"released_by": by, "released_us": at}
        await connection.execute(update(HOLD).where(HOLD.c.hold_id == hold_id).values(**values))
        detail: dict[str, str | int | float | bool] = {"hold_id": hold_id, "case_number": found.case_number}
        await self._governor.record(
            connection, Entry(kind=Kind.HOLD_RELEASED, at=moment(at), subject=by, detail=detail)
        )
        return msgspec.structs.replace(_hold(found), **values)

    async def listed(self, *, released: bool = False) -> tuple[Hold, ...]:
        """Return the holds in force, oldest first; all that ever were with `released`."""
        async with self._governor.reading() as connection:
            return await in_force(connection) if not released else await _select(connection, [])


async def in_force(connection: AsyncConnection) -> tuple[Hold, ...]:
    """Return the holds in force as this transaction sees them."""
    return await _select(connection, [HOLD.c.released_us.is_(None)])


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
    if not hold.conversation_id and hold.since_us is None and hold.until_us is None:
        return True
    turn, entry = AUDIT_TURN.c, AUDIT_ENTRY.c
    turns = and_(turn.subject == subject, _of_conversation(hold), within(turn.opened_us, hold))
    if (await connection.execute(select(exists().where(turns)))).scalar():
        return True
    if await _any_record(connection, hold, entry.subject == subject, within(entry.at_us, hold)):
        return True
    return any([await part.covered(connection, subject, hold) for part in kept])


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
    """Whether there is a record of the hold's conversation (any, where it names none), and that is so."""
    entry, turn = AUDIT_ENTRY.c, AUDIT_TURN.c
    query = select(entry.entry_id).outerjoin(AUDIT_TURN, turn.turn_id == entry.turn_id).where(*where)
    if (await connection.execute(query.where(_of_conversation(hold)).limit(1))).first() is not None:
        return True
    return bool(hold.conversation_id) and await _any_leaf(connection, hold, *where)


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


def _of_conversation(hold: Hold) -> ColumnElement[bool]:
    return AUDIT_TURN.c.conversation_id == hold.conversation_id if hold.conversation_id else true()


def within(at: ColumnElement[int], hold: Hold) -> ColumnElement[bool]:
    """Return the condition that a time (microseconds since 1970 UTC) is in the stretch that a hold restricts to."""
    since = at >= hold.since_us if hold.since_us is not None else at.is_not(None)
    return and_(since, at < hold.until_us) if hold.until_us is not None else since


async def _select(connection: AsyncConnection, where: list[ColumnElement[bool]]) -> tuple[Hold, ...]:
    rows = await connection.execute(select(HOLD).where(*where).order_by(HOLD.c.placed_us, HOLD.c.hold_id))
    return tuple(_hold(row) for row in rows)


def _hold(row: Row[tuple[object, ...]]) -> Hold:
    return Hold(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor


def _covered(hold: Hold) -> dict[str, str | int | float | bool]:
    fields = {
        "held_subject": hold.subject,
        "conversation_id": hold.conversation_id,
        "since": rfc3339(hold.since_us) if hold.since_us is not None else "",
        "until": rfc3339(hold.until_us) if hold.until_us is not None else "",
    }
    return {name: value for name, value in fields.items() if value}


def check_case(*texts: str) -> None:
    """Raise `GoverningError` unless each is a short, plain line: a case number, a reason."""
    for text in texts:
        if not text.strip() or len(text) > MOST_CHARACTERS or not text.isprintable():
            raise GoverningError(f"Case number and reason must have 1 to {MOST_CHARACTERS} plain characters.")
