"""Which turns have some metadata, from the indices of SQL alone: a bounded walk along one of them.

Every filter is an index in order of (opened, turn id). Of several filters the one whose entries lie farthest apart is
walked, and each of its entries is looked up in the others, over `WINDOW` entries at most: so a page costs the same
however many turns there are, and tells how far it looked.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, literal, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column
from audit.rows import microseconds
from audit.search.ports import Position
from audit.search.query import Order, TurnQuery
from audit.tables import AUDIT_FACET, AUDIT_TURN

WINDOW = 20_000
"""Entries of an index that one page looks at."""
_FACETS = {"group": "group", "role": "role", "category": "category", "rule": "rule", "model": "model"}
_COLUMNS = ("subject", "conversation_id", "verdict")


class Positions(msgspec.Struct, frozen=True):
    """Turns found, in order, and how far was looked; None: to the end."""

    found: tuple[Position, ...]
    reached: Position | None


class _Filter(msgspec.Struct, frozen=True):
    """One filter: entries of a table that has `opened_us` and `turn_id`."""

    table: Table
    equal: tuple[tuple[str, str], ...]

    def entries(self) -> tuple[FromClause, ColumnElement[bool]]:
        """Return the table under a name of its own, and the condition on it."""
        table = self.table.alias()
        return table, and_(true(), *(table.c[name] == value for name, value in self.equal))

    def holds_for(self, walked: FromClause) -> ColumnElement[bool]:
        """Return the condition that an entry of another filter's table is one of this filter, too.

        A scalar subquery and not EXISTS: PostgreSQL would make a join of that and read this filter's entries whole.
        """
        table, condition = self.entries()
        same = [table.c.turn_id == walked.c.turn_id]
        if self.table is AUDIT_FACET:
            same.append(table.c.opened_us == walked.c.opened_us)
        one = select(literal(1)).where(condition, *same).limit(1).correlate(walked).scalar_subquery()
        return one.is_not(None)


class Walk(msgspec.Struct, frozen=True):
    """A walk along one index: (`opened_us`, `turn_id`) of what holds for the whole query, in order."""

    positions: Select[Any]
    end: Position | None
    """Where the window ends; None: behind the last position there is nothing more."""


async def find_positions(
    connection: AsyncConnection, query: TurnQuery, after: Position | None, limit: int
) -> Positions:
    """Return the next positions behind `after`, at most `limit`; `text` is not looked at."""
    walk = await walk_of(connection, query, after)
    rows = (await connection.execute(walk.positions.limit(limit + 1))).all()
    found = tuple(Position(row.opened_us, row.turn_id) for row in rows[:limit])
    return Positions(found, found[-1] if len(rows) > limit else walk.end)


async def walk_of(connection: AsyncConnection, query: TurnQuery, after: Position | None) -> Walk:
    """Return the walk behind `after` that costs least; `text` is not looked at."""
    filters = _filters(query)
    walked, end = (filters or (_Filter(AUDIT_TURN, ()),))[0], None
    if len(filters) > 1:
        walked, end = await _sparsest(connection, filters, query, after)
    table, condition = walked.entries()
    wanted = _ordered(table, query, after).where(
        condition, *(one.holds_for(table) for one in filters if one is not walked)
    )
    if end is not None:
        place = tuple_(table.c.opened_us, table.c.turn_id)
        last = tuple_(literal(end.at_us), literal(end.id))
        wanted = wanted.where(place >= last if query.order is Order.NEWEST else place <= last)
    return Walk(wanted, end)


def conditions(table: FromClause, since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    """Return what a time range says of a table with `opened_us`."""
    found: list[ColumnElement[bool]] = []
    if since is not None:
        found.append(table.c.opened_us >= microseconds(since))
    if until is not None:
        found.append(table.c.opened_us < microseconds(until))
    return found


def _filters(query: TurnQuery) -> tuple[_Filter, ...]:
    found = [_Filter(AUDIT_TURN, ((name, column(value)),)) for name in _COLUMNS if (value := getattr(query, name))]
    found += [
        _Filter(AUDIT_FACET, (("facet", facet), ("value", column(value))))
        for name, facet in _FACETS.items()
        if (value := getattr(query, name))
    ]
    return tuple(found)


async def _sparsest(
    connection: AsyncConnection, filters: tuple[_Filter, ...], query: TurnQuery, after: Position | None
) -> tuple[_Filter, Position | None]:
    """Return the filter whose next `WINDOW` entries reach farthest, and where they end; None: fewer are left."""
    ends: list[tuple[_Filter, Position]] = []
    for one in filters:
        table, condition = one.entries()
        last = _ordered(table, query, after).where(condition).offset(WINDOW - 1).limit(1)
        row = (await connection.execute(last)).first()
        if row is None:
            return one, None
        ends.append((one, Position(row.opened_us, row.turn_id)))
    newest = query.order is Order.NEWEST
    return (min if newest else max)(ends, key=lambda pair: (pair[1].at_us, pair[1].id))


def _ordered(table: FromClause, query: TurnQuery, after: Position | None) -> Select[Any]:
    wanted = select(table.c.opened_us, table.c.turn_id).where(*conditions(table, query.since, query.until))
    newest = query.order is Order.NEWEST
    if after is not None:
        place = tuple_(table.c.opened_us, table.c.turn_id)
        start = tuple_(literal(after.at_us), literal(after.id))
        wanted = wanted.where(place < start if newest else place > start)
    by = (table.c.opened_us, table.c.turn_id)
    return wanted.order_by(*(one.desc() for one in by)) if newest else wanted.order_by(*by)
