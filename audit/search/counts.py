"""Counts of turns in SQL: by verdict, category, rule and group, and over time."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.search.ports import MOST_VALUES, Bar, Count, Counts
from audit.search.positions import restricted
from audit.search.query import TurnQuery
from audit.tables import AUDIT_FACET, AUDIT_TURN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTED = ("category", "rule", "group")
_MICROSECONDS = 1_000_000


async def count_turns(connection: AsyncConnection, query: TurnQuery, bar_seconds: int) -> Counts:
    """Count the closed turns that a query finds. Reads every index entry of its time range."""
    turn = AUDIT_TURN.alias("counted")
    width = bar_seconds * _MICROSECONDS
    bar = (turn.c.opened_us // literal(width, BigInteger)).label("bar")
    per_bar = (
        select(bar, turn.c.verdict, func.count().label("turns"))
        .where(turn.c.closed_entry.is_not(None), *restricted(turn, query))
        .group_by("bar", turn.c.verdict)
        .order_by("bar", turn.c.verdict)
    )
    rows = (await connection.execute(per_bar)).all()
    by_facet = {facet: await _values(connection, query, facet) for facet in _COUNTED}
    return Counts(
        turns=sum(row.turns for row in rows),
        verdicts=_most((row.verdict, row.turns) for row in rows),
        categories=by_facet["category"],
        rules=by_facet["rule"],
        groups=by_facet["group"],
        bar_seconds=bar_seconds,
        bars=tuple(_bars(rows, width)),
    )


async def _values(connection: AsyncConnection, query: TurnQuery, facet: str) -> tuple[Count, ...]:
    entry = AUDIT_FACET.alias("counted")
    turns = func.count().label("turns")
    counted = (
        select(entry.c.value, turns)
        .where(entry.c.facet == facet, *_of_closed_turns(entry, query))
        .group_by(entry.c.value)
        .order_by(turns.desc(), entry.c.value)
        .limit(MOST_VALUES)
    )
    return _most((row.value, row.turns) for row in (await connection.execute(counted)).all())


def _of_closed_turns(entry: FromClause, query: TurnQuery) -> list[ColumnElement[bool]]:
    """Return the conditions on facets: running turns are few and found by their own index, so they are taken out."""
    running = select(AUDIT_TURN.c.turn_id).where(AUDIT_TURN.c.closed_entry.is_(None))
    return [entry.c.turn_id.not_in(running), *restricted(entry, query)]


def _bars(rows: Iterable[Any], width: int) -> Iterable[Bar]:
    by_start: dict[int, list[tuple[str, int]]] = {}
    for row in rows:
        by_start.setdefault(row.bar, []).append((row.verdict, row.turns))
    for bar, verdicts in by_start.items():
        start = _EPOCH + timedelta(microseconds=bar * width)
        yield Bar(start, sum(turns for _, turns in verdicts), _most(verdicts))


def _most(pairs: Iterable[tuple[str, int]]) -> tuple[Count, ...]:
    summed: dict[str, int] = {}
    for value, turns in pairs:
        summed[value] = summed.get(value, 0) + turns
    ordered = sorted(summed.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Count(value, turns) for value, turns in ordered[:MOST_VALUES])
