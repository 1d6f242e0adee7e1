"""The second store answers where the first does not."""

import pytest

from audit.search.fallback import REST_S, FallbackSearch
from audit.search.ports import Counts, Position, SearchUnavailableError, TurnPage
from audit.search.query import TurnQuery


class Store:
    """A store that answers with its name, or not at all."""

    def __init__(self, name: str) -> None:
        self.name, self.up, self.asked = name, True, 0

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:  # noqa: ARG002
        self.asked += 1
        if not self.up:
            raise SearchUnavailableError("down")
        return TurnPage((), after, self.name)

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:
        await self.page(query, None, 1)
        return Counts(0, (), (), (), (), bar_seconds, ())


async def test_a_store_that_is_down_is_left_alone_for_a_while():
    first, second, faults, now = Store("first"), Store("second"), [], [0.0]
    search = FallbackSearch(first, second, faults.append, lambda: now[0])

    async def source() -> str:
        return (await search.page(TurnQuery(), None, 1)).source

    assert await source() == "first"
    first.up = False
    assert [await source(), await source()] == ["second", "second"]
    assert (first.asked, len(faults)) == (2, 1)
    first.up, now[0] = True, REST_S
    assert await source() == "first"
    first.up = False
    assert (await search.counts(TurnQuery(), 60)).bar_seconds == 60
    second.up = False
    with pytest.raises(SearchUnavailableError):
        await source()
