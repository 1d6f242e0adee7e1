"""Two stores as one: the first answers where it can, otherwise the second. Positions mean the same in both."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from audit.search.ports import Counts, Position, SearchUnavailableError, TurnPage, TurnSearch
from audit.search.query import TurnQuery

_Answer = TypeVar("_Answer")

REST_S = 10.0
"""How long a store that did not answer is left alone, in seconds."""


class FallbackSearch:
    """Implements `audit.search.ports.TurnSearch`."""

    def __init__(
        self,
        first: TurnSearch,
        second: TurnSearch,
        on_fault: Callable[[SearchUnavailableError], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_fault` hears each time that the first store did not answer."""
        self._first = first
        self._second = second
        self._on_fault = on_fault
        self._monotonic = monotonic
        self._rests_until = float("-inf")

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:
        """Return the next turns."""
        return await self._ask(lambda store: store.page(query, after, limit))

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:
        """Count turns."""
        return await self._ask(lambda store: store.counts(query, bar_seconds))

    async def _ask(self, question: Callable[[TurnSearch], Awaitable[_Answer]]) -> _Answer:
        if self._monotonic() >= self._rests_until:
            try:
                return await question(self._first)
            except SearchUnavailableError as error:
                self._rests_until = self._monotonic() + REST_S
                self._on_fault(error)
        return await question(self._second)
