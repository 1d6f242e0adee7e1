"""Counts of turns in SQL: by verdict, category, rule and group, and over time."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import CTE, CompoundSelect, FromClause, Select, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.search.ports import MOST_VALUES, Bar, Count, Counts, Position
from audit.search.positions import find_positions, walk_of
from audit.search.query import Order, TurnQuery
from audit.tables import AUDIT_FACET, AUDIT_TURN

MOST_COUNTED = 20_000
"""Turns that are counted at most, beginning with the first in the query's order."""
MOST_WINDOWS = 5
"""Windows of an index that are looked through for that."""
_FACETS = ("category", "rule", "group")
_BAR, _LAST = "bar", "last"
_TURNS = func.count()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000


class _Tally:
    """What was counted so far."""

    def __init__(self, bar_seconds: int) -> None:
        self._bar_seconds = bar_seconds
        self._bars: dict[int, Counter[str]] = {}
        self._facets: dict[str, Counter[str]] = {name: Counter() for name in _FACETS}

    async def add(self, connection: AsyncConnection, turns: Select[Any], order: Order) -> tuple[int, Position | None]:
        """Count the closed ones of the turns at some positions; return how many positions, and the last of them."""
        passed, last = 0, None
        for row in await connection.execute(_counting(connection, turns, order, self._bar_seconds * _MICROSECONDS)):
            if row.what == _LAST:
                passed, last = row.turns, Position(row.at, row.value)
            elif row.what == _BAR:
                self._bars.setdefault(row.at, Counter())[row.value] += row.turns
            else:
                self._facets[row.what][row.value] += row.turns
        return passed, last

    def counts(self, reached: Position | None) -> Counts:
        """Return the counts."""
        verdicts: Counter[str] = Counter()
        for bar in self._bars.values():
            verdicts.update(bar)
        return Counts(
            turns=verdicts.total(),
            verdicts=_most(verdicts),
            categories=_most(self._facets["category"]),
            rules=_most(self._facets["rule"]),
            groups=_most(self._facets["group"]),
            bar_seconds=self._bar_seconds,
            bars=tuple(
                Bar(_moment(start * self._bar_seconds * _MICROSECONDS), found.total(), _most(found))
                for start, found in sorted(self._bars.items())
            ),
            counted_to=_moment(reached.at_us) if reached is not None else None,
        )


async def count_turns(connection: AsyncConnection, query: TurnQuery, bar_seconds: int) -> Counts:
    """Count the closed turns that a query finds, at most `MOST_COUNTED` of all that it finds."""
    tally, left, after = _Tally(bar_seconds), MOST_COUNTED, None
    for _ in range(MOST_WINDOWS):
        walk = await walk_of(connection, query, after)
        passed, last = await tally.add(connection, walk.positions.limit(left), query.order)
        left -= passed
        after = walk.end if left else last
        if after is None or not left:
            break
    if after is not None and not left:
        following = await find_positions(connection, query, after, 1)
        after = after if following.found or following.reached else None
    return tally.counts(after)


def _counting(connection: AsyncConnection, turns: Select[Any], order: Order, bar_us: int) -> CompoundSelect[Any]:
    """Return rows of (what, at, value, turns): for each bar, for each facet, and one about the last position.

    One statement, so that no id leaves the database. Each turn is looked up by its key, whatever the planner makes of
    it: left to itself, PostgreSQL reads whole tables, with helpers for which it waits.
    """
    found, turn = _kept(turns, "found"), AUDIT_TURN.c
    verdict = select(turn.verdict).where(turn.turn_id == found.c.turn_id, turn.closed_entry.is_not(None))
    known = _kept(select(found, verdict.scalar_subquery().label("verdict")), "known")
    closed = known.c.verdict.is_not(None)
    bar = known.c.opened_us // bar_us
    bars = select(literal(_BAR).label("what"), bar.label("at"), known.c.verdict.label("value"), _TURNS.label("turns"))
    facet, beside = _facets_of(connection, known)
    facets = select(facet.facet, literal(0), facet.value, _TURNS).select_from(beside)
    by = found.c.opened_us, found.c.turn_id
    ends = select(*by).order_by(*(one.desc() if order is Order.OLDEST else one for one in by)).limit(1).subquery()
    passed = select(_TURNS).select_from(found).scalar_subquery()
    return bars.where(closed).group_by(bar, known.c.verdict).union_all(
        facets.where(closed, facet.facet.in_(_FACETS)).group_by(facet.facet, facet.value),
        select(literal(_LAST), ends.c.opened_us, ends.c.turn_id, passed),
    )  # fmt: skip


def _kept(rows: Select[Any], name: str) -> CTE:
    """Return rows that are found once and then read by several; no planner may put their query into another."""
    return rows.cte(name).prefix_with("MATERIALIZED")


def _facets_of(connection: AsyncConnection, turns: CTE) -> tuple[Any, FromClause]:
    """Return the columns of facets, and turns with each of their facets, found turn by turn."""
    if connection.dialect.name == "postgresql":
        mine = select(AUDIT_FACET).where(AUDIT_FACET.c.turn_id == turns.c.turn_id)
        each = mine.offset(0).lateral()  # an offset is what the planner does not look behind
        return each.c, turns.join(each, true())
    # SQLite keeps the order of a left join.
    return AUDIT_FACET.c, turns.outerjoin(AUDIT_FACET, AUDIT_FACET.c.turn_id == turns.c.turn_id)


def most_frequent(counts: Iterable[tuple[str, int]]) -> tuple[Count, ...]:
    """Return the most frequent values, the first `MOST_VALUES`; of equal ones the smaller value first."""
    ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    return tuple(Count(value, turns) for value, turns in ordered[:MOST_VALUES])


def _most(counter: Counter[str]) -> tuple[Count, ...]:
    return most_frequent(counter.items())


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
