"""Two stores as one: the first answers for what it holds where it can, otherwise the second.

Positions mean the same in both. From newest to oldest the first goes as far as it holds everything, and the second goes
on from there; it also ends what it began, for the first may lack what it was about to show.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from audit.rows import microseconds
from audit.search.held import NEVER_US, Held
from audit.search.ports import Counts, Position, SearchInexactError, SearchUnavailableError, TurnPage, TurnSearch
from audit.search.query import Order, TurnQuery

_Answer = TypeVar("_Answer")

REST_S = 10.0
"""How long a store that did not answer is left alone, in seconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FallbackSearch:
    """Implements `audit.search.ports.TurnSearch`."""

    def __init__(
        self,
        first: TurnSearch,
        second: TurnSearch,
        held: Callable[[], Awaitable[Held]],
        on_fault: Callable[[SearchUnavailableError], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`second` is the log itself; `held` says what `first` holds of it.

        `on_fault` hears each time that the first store did not answer.
        """
        self._first = first
        self._second = second
        self._held = held
        self._on_fault = on_fault
        self._monotonic = monotonic
        self._rests_until = float("-inf")

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:
        """Return the next turns."""
        if after is None or not after.log_only:
            page = await self._tried(lambda: self._page_of_first(query, after, limit))
            if page is not None:
                return page
        page = await self._second.page(query, after, limit)
        reached = page.reached and msgspec.structs.replace(page.reached, log_only=True)
        return msgspec.structs.replace(page, reached=reached)

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:
        """Count turns; all of them in one store."""
        counts = await self._tried(lambda: self._counts_of_first(query, bar_seconds))
        return counts if counts is not None else await self._second.counts(query, bar_seconds)

    async def _page_of_first(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage | None:
        """Return a page of what the first store holds, down to where something may be missing; None: all of it may."""
        first_us, end_us = _range(query, after)
        gap_us = (await self._held()).last_gap(first_us, end_us, texts=bool(query.text))
        if gap_us is None:
            return await self._first.page(query, after, limit)
        if query.order is Order.OLDEST or gap_us == end_us - 1:
            return None
        held = msgspec.structs.replace(query, since=_EPOCH + timedelta(microseconds=gap_us + 1))
        page = await self._first.page(held, after, limit)
        if page.reached is None:
            page = msgspec.structs.replace(page, reached=Position(gap_us + 1, "", log_only=True))
        return page

    async def _counts_of_first(self, query: TurnQuery, bar_seconds: int) -> Counts | None:
        gap_us = (await self._held()).last_gap(*_range(query, None), texts=False)
        return await self._first.counts(query, bar_seconds) if gap_us is None else None

    async def _tried(self, question: Callable[[], Awaitable[_Answer | None]]) -> _Answer | None:
        """Return what the first store answers; None where it cannot, or is left alone."""
        if self._monotonic() < self._rests_until:
            return None
        try:
            return await question()
        except SearchInexactError:
            return None
        except SearchUnavailableError as error:
            self._rests_until = self._monotonic() + REST_S
            self._on_fault(error)
            return None


def _range(query: TurnQuery, after: Position | None) -> tuple[int, int]:
    """Return when turns that are still to be found may have been opened: from one moment on, before another."""
    first_us = max(0, microseconds(query.since)) if query.since is not None else 0
    end_us = microseconds(query.until) if query.until is not None else NEVER_US
    if after is not None and query.order is Order.NEWEST:
        end_us = min(end_us, after.at_us + 1)
    elif after is not None:
        first_us = max(first_us, after.at_us)
    return first_us, end_us
