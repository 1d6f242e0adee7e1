"""A search never takes the turns that Elasticsearch has for all that there are."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

import audit.search.elasticsearch
import audit.search.held
from audit.elastic.client import Server, connect
from audit.elastic.roles import COMPLIANCE
from audit.record import Kind
from audit.search.elasticsearch import ElasticTurnSearch
from audit.search.fallback import FallbackSearch
from audit.search.held import KEPT_S, Held, Holdings
from audit.search.ports import Position, SearchInexactError
from audit.search.query import Order, TurnQuery
from audit.search.sql import SqlTurnSearch
from audit.tables import AUDIT_ENTRY, OUTBOX
from tests.contract.audit.turns import accepted, completed, entry
from tests.integration.elastic.conftest import MASTER, Line, closing, identity, prepare

MONTHS = tuple(datetime(2020, month, 1, tzinfo=UTC) for month in (4, 5, 6))
APRIL, MAY, JUNE = (month + timedelta(days=14) for month in MONTHS)
IN_MAY = TurnQuery(since=MONTHS[1], until=MONTHS[2])


@dataclass
class Searched:
    """A log, what searches it, and a clock for both."""

    line: Line
    elastic: ElasticTurnSearch
    sql: SqlTurnSearch
    search: FallbackSearch
    held: Callable
    now: float = 0.0
    faults: int = 0

    async def found(self, query: TurnQuery, limit: int = 50, after: Position | None = None) -> list[tuple[str, str]]:
        """Every turn, and who told it."""
        self.now += KEPT_S
        found = list[tuple[str, str]]()
        for _ in range(20):
            page = await self.search.page(query, after, limit)
            found += [(page.source, turn.turn_id) for turn in page.turns]
            if (after := page.reached) is None:
                return found
        raise AssertionError("a search that does not end")

    async def add(self, turn_id: str, at: datetime, **fields) -> None:
        await self.line.append(
            accepted(turn_id, "first question", at=at, **fields), completed("an answer", turn_id, at=at, **fields)
        )

    async def deliver(self) -> None:
        async with closing(self.line.delivery()) as delivery:
            await delivery.drain()
        self.line.server.call("POST", "/attest-*/_refresh")


@pytest.fixture
async def searched(line: Line) -> AsyncIterator[Searched]:
    """April, May and June of long ago, a turn in each, delivered."""
    await prepare(line.server, *MONTHS)
    client = connect(Server((line.server.url,)), identity(line.server, COMPLIANCE), 30)
    elastic, sql = ElasticTurnSearch(client), SqlTurnSearch(line.engine, MASTER)

    def clock() -> float:
        return one.now

    def on_fault(_: Exception) -> None:
        one.faults += 1

    held = Holdings(elastic.indices, line.engine, clock).held
    one = Searched(line, elastic, sql, FallbackSearch(elastic, sql, held, on_fault, clock), held)
    try:
        for turn_id, at in (("april", APRIL), ("may", MAY), ("june", JUNE)):
            await one.add(turn_id, at)
        await one.deliver()
        yield one
    finally:
        await client.close()


async def test_elasticsearch_answers_where_it_has_everything(searched: Searched):
    assert await searched.held() == Held()
    for query in (TurnQuery(), TurnQuery(text="first question"), IN_MAY):
        turns = ["may"] if query is IN_MAY else ["june", "may", "april"]
        assert await searched.found(query) == [("elasticsearch", turn) for turn in turns]
    assert searched.faults == 0


async def test_months_that_are_gone_come_from_the_log(searched: Searched):
    call = searched.line.server.call
    call("DELETE", "/attest-audit-2020.04")
    call("DELETE", "/attest-content-2020.04")
    expected = [("elasticsearch", "june"), ("elasticsearch", "may"), ("sql", "april")]
    for limit in (1, 2, 50):
        assert await searched.found(TurnQuery(), limit) == expected
        assert await searched.found(TurnQuery(text="first question"), limit) == expected
    oldest = [("sql", turn) for turn in ("april", "may", "june")]
    assert await searched.found(TurnQuery(order=Order.OLDEST), 2) == oldest
    assert (await searched.search.counts(TurnQuery(), 86_400)).turns == 3
    assert await searched.found(IN_MAY) == [("elasticsearch", "may")]
    assert searched.faults == 0


async def test_a_month_that_is_there_but_empty_holds_nothing(searched: Searched):
    searched.line.server.call("DELETE", "/attest-content-2020.05")
    await prepare(searched.line.server, *MONTHS)
    assert await searched.found(IN_MAY) == [("elasticsearch", "may")]
    with_text = TurnQuery(since=IN_MAY.since, until=IN_MAY.until, text="first question")
    assert await searched.found(with_text) == [("sql", "may")]
    assert (await searched.held()).texts_from_us > (await searched.held()).turns_from_us == 0


async def test_what_waits_for_long_or_was_refused_comes_from_the_log(searched: Searched):
    await searched.add("late", MAY + timedelta(hours=1))
    await searched.line.append(entry(Kind.ACCESS_READ, "june", at=JUNE))  # no search goes by it
    assert await searched.found(IN_MAY) == [("sql", "late"), ("sql", "may")]
    assert await searched.found(TurnQuery()) == [("elasticsearch", "june")] + [
        ("sql", turn) for turn in ("late", "may", "april")
    ]
    assert await searched.found(TurnQuery(until=MAY)) == [("elasticsearch", "april")]
    async with searched.line.engine.begin() as connection:
        of_turn = AUDIT_ENTRY.c.entry_id == OUTBOX.c.entry_id
        await connection.execute(update(OUTBOX).values(dead_us=1, due_us=2**63 - 1).where(of_turn))
    assert await searched.found(IN_MAY) == [("sql", "late"), ("sql", "may")]
    await searched.line.outbox.retry()
    await searched.deliver()
    assert await searched.found(IN_MAY) == [("elasticsearch", "late"), ("elasticsearch", "may")]


async def test_what_has_just_come_need_not_be_there_yet(searched: Searched):
    await searched.add("now", datetime.now(UTC))
    assert [who for who, _ in await searched.found(TurnQuery())] == ["elasticsearch"] * 3


async def test_where_much_waits_nothing_counts_as_held(searched: Searched, monkeypatch):
    monkeypatch.setattr(audit.search.held, "MOST_LATE", 3)
    for number in range(2):
        await searched.add(f"late-{number}", MAY)
    assert await searched.found(TurnQuery(until=MAY)) == [("sql", "april")]


async def test_paging_goes_on_in_the_log_when_a_month_goes_meanwhile(searched: Searched):
    page = await searched.search.page(TurnQuery(), None, 1)
    assert (page.source, page.reached) == ("elasticsearch", Position(int(JUNE.timestamp()) * 10**6, "june"))
    searched.line.server.call("DELETE", "/attest-audit-2020.05")
    assert await searched.found(TurnQuery(), after=page.reached) == [("sql", "may"), ("sql", "april")]


async def test_a_value_that_is_rare_in_every_month_is_counted(searched: Searched, monkeypatch):
    for month, at in enumerate((APRIL, MAY, JUNE)):
        many = tuple(f"m{month}-{number:03}" for number in range(90))
        for number, groups in enumerate((many, many, ("x-team",))):
            await searched.add(f"g{month}{number}", at + timedelta(minutes=number + 1), groups=groups)
    await searched.deliver()
    searched.now += KEPT_S
    counts = await searched.elastic.counts(TurnQuery(), 86_400)
    assert {one.value: one.turns for one in counts.groups}["x-team"] == 3
    assert counts.groups == (await searched.sql.counts(TurnQuery(), 86_400)).groups
    monkeypatch.setattr(audit.search.elasticsearch, "SHARD_VALUES", 50)
    with pytest.raises(SearchInexactError):
        await searched.elastic.counts(TurnQuery(), 86_400)
    assert await searched.search.counts(TurnQuery(), 86_400) == await searched.sql.counts(TurnQuery(), 86_400)
    assert searched.faults == 0
