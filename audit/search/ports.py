"""The port of search: turns found by their metadata or texts, and counts of them."""

from datetime import datetime
from typing import Protocol

import msgspec

from audit.ports import TurnSummary
from audit.search.query import TurnQuery

MOST_ON_A_PAGE = 200
"""Turns that one page may hold."""
MOST_VALUES = 50
"""Values of one facet that are counted apart."""
ALTERED = "record_altered"
"""`reason` of a listed turn one of whose records is not what was written; the rest of its fields is unproved."""


class SearchUnavailableError(Exception):
    """This store cannot be searched now; another may."""


class SearchInexactError(SearchUnavailableError):
    """This store cannot answer this question exactly; others it can."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in an order: of turns (opened, turn id) or of records (0, entry id)."""

    at_us: int
    id: str
    log_only: bool = False
    """Whether only the log itself may go on from here: it told pages before, or another store ends here."""


class TurnPage(msgspec.Struct, frozen=True):
    """Some of the turns that were asked for, in order."""

    turns: tuple[TurnSummary, ...]
    reached: Position | None
    """How far was looked: the next page starts behind it. None: all is told.

    A page may hold fewer turns than asked for, even none, and yet not be the last: a search looks at a bounded number
    of candidates at a time.
    """
    source: str
    """Which store answered: `elasticsearch` or `sql`."""


class Count(msgspec.Struct, frozen=True):
    """How many turns have a value."""

    value: str
    turns: int


class Bar(msgspec.Struct, frozen=True):
    """Turns opened in one stretch of time."""

    start: datetime
    turns: int
    verdicts: tuple[Count, ...]


class Counts(msgspec.Struct, frozen=True):
    """Closed turns counted; running ones are left out."""

    turns: int
    verdicts: tuple[Count, ...]
    categories: tuple[Count, ...]
    rules: tuple[Count, ...]
    groups: tuple[Count, ...]
    """Each at most `MOST_VALUES`, the most frequent first."""
    bar_seconds: int
    """Length of a bar."""
    bars: tuple[Bar, ...]
    """In order of time; stretches without turns are left out."""
    counted_to: datetime | None = None
    """How far in time was counted, from the newest turn on, where that is not all: there are more than can be counted
    at once."""


class TurnSearch(Protocol):
    """A store that can be searched. Every one gives the same answers."""

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:
        """Return the next turns behind a position, at most `limit`.

        Each turn that stood when the first page was asked for comes exactly once, however many arrive meanwhile.
        Raises `SearchUnavailableError`, `audit.ports.AuditUnavailableError`, `audit.ports.AuditIntegrityError`.
        """

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:
        """Count the turns that a query without `text` finds. Raises as `page`."""
