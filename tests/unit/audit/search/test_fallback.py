"""The second store answers where the first does not, or does not hold everything."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.ports import TurnSummary
from audit.search.fallback import REST_S, FallbackSearch
from audit.search.held import NEVER_US, Held
from audit.search.ports import Counts, Position, SearchInexactError, SearchUnavailableError, TurnPage
from audit.search.query import Order, TurnQuery

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)


class Store:
    """A store with turns that were opened at some microseconds; it says its name, or does not answer."""

    def __init__(self, name: str, *turns: int) -> None:
        self.name, self.turns, self.asked = name, turns, 0
        self.error: SearchUnavailableError | None = None

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:
        self._answer()
        newest = query.order is Order.NEWEST
        behind = [
            Position(at_us, f"t{at_us}")
            for at_us in sorted(self.turns, reverse=newest)
            if (query.since is None or moment(at_us) >= query.since)
            and (query.until is None or moment(at_us) < query.until)
        ]
        if after is not None:
            place = (after.at_us, after.id)
            behind = [one for one in behind if ((one.at_us, one.id) < place) is newest and (one.at_us, one.id) != place]
        found = behind[:limit]
        lines = tuple(TurnSummary(turn_id=one.id, at=moment(one.at_us), subject="", verdict="") for one in found)
        return TurnPage(lines, found[-1] if len(behind) > limit else None, self.name)

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:  # noqa: ARG002
        self._answer()
        return Counts(len(self.turns), (), (), (), (), bar_seconds, ())

    def _answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


def both(first: Store, second: Store, held: Held | None = None, faults: list | None = None, now=lambda: 0.0):
    async def holds() -> Held:
        return held or Held()

    return FallbackSearch(first, second, holds, (faults if faults is not None else []).append, now)


async def walked(search: FallbackSearch, query: TurnQuery, limit: int = 2) -> list[tuple[str, int]]:
    """Every page: the store that answered, and the turns."""
    found, after = [], None
    for _ in range(20):
        page = await search.page(query, after, limit)
        found += [(page.source, int(turn.turn_id[1:])) for turn in page.turns]
        if (after := page.reached) is None:
            return found
    raise AssertionError("a search that does not end")


async def test_a_store_that_is_down_is_left_alone_for_a_while():
    first, second, faults, now = Store("first"), Store("second"), [], [0.0]
    search = both(first, second, faults=faults, now=lambda: now[0])

    async def source() -> str:
        return (await search.page(TurnQuery(), None, 1)).source

    assert await source() == "first"
    first.error = SearchUnavailableError("down")
    assert [await source(), await source()] == ["second", "second"]
    assert (first.asked, len(faults)) == (2, 1)
    first.error, now[0] = None, REST_S
    assert await source() == "first"
    first.error = SearchUnavailableError("down")
    assert (await search.counts(TurnQuery(), 60)).bar_seconds == 60
    second.error = SearchUnavailableError("down")
    with pytest.raises(SearchUnavailableError):
        await source()


async def test_a_store_that_cannot_count_exactly_still_finds():
    first, second, faults = Store("first", 1), Store("second", 1, 2), []
    search = both(first, second, faults=faults)
    first.error = SearchInexactError("too many values")
    assert (await search.counts(TurnQuery(), 60)).turns == 2
    first.error = None
    assert (await search.page(TurnQuery(), None, 1)).source == "first"
    assert not faults


MONTHS_GONE = Held(turns_from_us=30)
ONE_LATE = Held(late_us=(40,))
CASES = [
    (Held(), {}, "first"),
    (MONTHS_GONE, {"since": moment(30)}, "first"),
    (MONTHS_GONE, {"since": moment(30), "order": Order.OLDEST}, "first"),
    (MONTHS_GONE, {"until": moment(30)}, "second"),
    (MONTHS_GONE, {"since": moment(29), "order": Order.OLDEST}, "second"),
    (MONTHS_GONE, {"order": Order.OLDEST}, "second"),
    (Held(texts_from_us=30), {"until": moment(30)}, "first"),
    (Held(texts_from_us=30), {"until": moment(30), "text": "word"}, "second"),
    (ONE_LATE, {"until": moment(40)}, "first"),
    (ONE_LATE, {"since": moment(41)}, "first"),
    (ONE_LATE, {"until": moment(41)}, "second"),
    (ONE_LATE, {"order": Order.OLDEST}, "second"),
    (Held(NEVER_US, NEVER_US), {}, "second"),
    (Held(NEVER_US, NEVER_US), {"until": moment(20)}, "second"),
]


@pytest.mark.parametrize(("held", "filters", "source"), CASES)
async def test_what_the_first_store_may_lack_the_second_answers(held: Held, filters: dict, source: str):
    query, turns = TurnQuery(**filters), (10, 20, 30, 40, 50)
    lacks = {at_us for at_us in turns if held.last_gap(at_us, at_us + 1, texts=bool(query.text)) is not None}
    first, second = Store("first", *sorted({*turns} - lacks)), Store("second", *turns)
    search = both(first, second, held)
    expected = [(source, int(turn.turn_id[1:])) for turn in (await second.page(query, None, 9)).turns]
    for limit in (1, 2, 9):
        assert await walked(search, query, limit) == expected
    if not query.text:  # texts are not counted
        (second if source == "first" else first).error = SearchUnavailableError("not to be asked")
        assert (await search.counts(query, 60)).turns == len((first if source == "first" else second).turns)


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
@pytest.mark.parametrize("held", [MONTHS_GONE, ONE_LATE, Held(20, late_us=(30, 20))])
async def test_from_the_newest_on_the_first_goes_as_far_as_it_holds_everything(held: Held, limit: int):
    turns = (10, 20, 30, 40, 50)
    gap = held.last_gap(0, NEVER_US, texts=False)
    assert gap is not None
    search = both(Store("first", *(at_us for at_us in turns if at_us > gap)), Store("second", *turns), held)
    assert await walked(search, TurnQuery(), limit) == [
        ("first" if at_us > gap else "second", at_us) for at_us in reversed(turns)
    ]


@pytest.mark.parametrize("order", Order)
async def test_what_the_second_store_began_it_ends(order: Order):
    first, second, now = Store("first", 10, 20, 40, 50), Store("second", 10, 20, 30, 40, 50), [0.0]  # 30 is on its way
    search, query = both(first, second, now=lambda: now[0]), TurnQuery(order=order)
    first.error = SearchUnavailableError("down")
    page = await search.page(query, None, 1)
    first.error, now[0] = None, REST_S
    assert (await search.page(query, None, 9)).source == "first"
    following = await search.page(query, page.reached, 9)
    assert (following.source, len(following.turns), following.reached) == ("second", 4, None)
