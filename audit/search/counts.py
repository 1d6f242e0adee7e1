"""Counts of turns in SQL: by verdict, category, rule and group, and over time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Text, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.search.ports import MOST_VALUES, Bar, Count, Counts, Position
from audit.search.positions import find_positions
from audit.search.query import TurnQuery
from audit.tables import AUDIT_FACET, AUDIT_TURN

MOST_COUNTED = 20_000
"""Turns that are counted at most, beginning with the first in the query's order."""
MOST_STEPS = 100
"""Pages of candidates that are looked at for that."""
_AT_ONCE = 5000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000


class _Tally:
    """What was counted so far."""

    def __init__(self, bar_seconds: int) -> None:
        self._bar_seconds = bar_seconds
        self._bars: dict[int, Counter[str]] = {}
        self._facets: dict[str, Counter[str]] = {"category": Counter(), "rule": Counter(), "group": Counter()}

    async def add(self, connection: AsyncConnection, ids: Sequence[str]) -> None:
        """Count these turns, those of them that are closed."""
        turn, facet = AUDIT_TURN.c, AUDIT_FACET.c
        turns = select(turn.turn_id, turn.opened_us, turn.verdict).where(_among(connection, turn.turn_id, ids))
        closed = (await connection.execute(turns.where(turn.closed_entry.is_not(None)))).all()
        for row in closed:
            bar = row.opened_us // (self._bar_seconds * _MICROSECONDS)
            self._bars.setdefault(bar, Counter())[row.verdict] += 1
        # Grouped by an expression: else SQLite walks the whole table in the order of its key.
        name = facet.facet.concat("").label("facet")
        of_turns = select(name, facet.value, func.count().label("turns")).group_by(name, facet.value)
        of_turns = of_turns.where(_among(connection, facet.turn_id, [row.turn_id for row in closed]))
        for row in (await connection.execute(of_turns.where(name.in_(self._facets)))).all():
            self._facets[row.facet][row.value] += row.turns

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
    tally, counted, after = _Tally(bar_seconds), 0, None
    for _ in range(MOST_STEPS):
        positions = await find_positions(connection, query, after, min(_AT_ONCE, MOST_COUNTED - counted))
        await tally.add(connection, [one.id for one in positions.found])
        counted, after = counted + len(positions.found), positions.reached
        if after is None or counted >= MOST_COUNTED:
            break
    return tally.counts(after)


def _among(connection: AsyncConnection, column: ColumnElement[str], ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of many; PostgreSQL gets them as one parameter."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(ids), ARRAY(Text)))
    return column.in_(ids)


def most_frequent(counts: Iterable[tuple[str, int]]) -> tuple[Count, ...]:
    """Return the most frequent values, the first `MOST_VALUES`; of equal ones the smaller value first."""
    ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    return tuple(Count(value, turns) for value, turns in ordered[:MOST_VALUES])


def _most(counter: Counter[str]) -> tuple[Count, ...]:
    return most_frequent(counter.items())


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
