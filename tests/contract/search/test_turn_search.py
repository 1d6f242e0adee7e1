"""Every store finds the same turns, in the same order, page by page."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

import audit.search.elasticsearch
import audit.search.positions
import audit.search.sql
from audit.search.ports import ALTERED, TurnSearch
from audit.search.query import Order, TurnQuery
from audit.search.sql import SqlTurnSearch
from tests.contract.audit.turns import accepted, completed
from tests.contract.search.turns import EXPECTED, START, at, later, numbers, turns

IN_SQL = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
"""What was delivered to Elasticsearch is altered in tests of its own."""


async def everything(search: TurnSearch, query: TurnQuery, limit: int = 200) -> list[int]:
    found, after = [], None
    for _ in range(1000):
        page = await search.page(query, after, limit)
        assert len(page.turns) <= limit
        found += numbers(page.turns)
        after = page.reached
        if after is None:
            return found
    raise AssertionError("a search that does not end")


async def test_every_filter_finds_what_it_should(search: TurnSearch):
    for filters, expected in EXPECTED:
        assert await everything(search, TurnQuery(**filters)) == expected, filters


@pytest.mark.parametrize("limit", [1, 3])
async def test_pages_put_together_are_the_whole_in_either_order(search: TurnSearch, limit: int):
    for filters, expected in EXPECTED:
        assert await everything(search, TurnQuery(**filters), limit) == expected, filters
        oldest = TurnQuery(**filters, order=Order.OLDEST)
        assert await everything(search, oldest, limit) == expected[::-1], filters


async def test_a_page_looks_at_a_bounded_number_of_candidates(search: TurnSearch, monkeypatch):
    monkeypatch.setattr(audit.search.positions, "WINDOW", 2)
    monkeypatch.setattr(audit.search.sql, "READ_AT_ONCE", 2)
    monkeypatch.setattr(audit.search.sql, "READ_FOR_A_PAGE", 3)
    monkeypatch.setattr(audit.search.elasticsearch, "CANDIDATES", 2)
    monkeypatch.setattr(audit.search.elasticsearch, "ROUNDS", 2)
    for filters, expected in EXPECTED:
        assert await everything(search, TurnQuery(**filters), 3) == expected, filters
        oldest = TurnQuery(**filters, order=Order.OLDEST)
        assert await everything(search, oldest, 3) == expected[::-1], filters


async def test_a_line_says_what_the_records_say(search: TurnSearch):
    page = await search.page(TurnQuery(rule="card"), None, 1)
    (line,) = page.turns
    assert (line.turn_id, line.at, line.subject, line.verdict) == ("t10", at(10), "alice", "redact")
    assert (line.name, line.model, line.closing_kind) == ("Alice", "demo", "turn.completed")
    assert line.categories == ("hate", "personal_data")
    running = (await search.page(TurnQuery(subject="bob", text="monsters"), None, 5)).turns
    assert [(line.turn_id, line.closing_kind) for line in running] == [("t06", "")]


@pytest.mark.parametrize("order", Order)
async def test_pages_give_every_turn_once_while_turns_arrive(search: TurnSearch, log, order: Order):
    before = set(numbers((await search.page(TurnQuery(), None, 200)).turns))
    found: Counter[int] = Counter()
    page = await search.page(TurnQuery(order=order), None, 2)
    for number in range(100, 120):
        found.update(numbers(page.turns))
        if page.reached is None:
            break
        await log.append(later(accepted(f"t{number}"), number), later(completed("x", f"t{number}"), number + 0.5))
        page = await search.page(TurnQuery(order=order), page.reached, 2)
    assert set(found.values()) == {1}
    assert before <= set(found)
    assert order is Order.OLDEST or set(found) == before


async def test_counts_are_those_of_closed_turns(search: TurnSearch):
    counts = await search.counts(TurnQuery(), 3600)
    assert counts.turns == 11
    assert {one.value: one.turns for one in counts.verdicts} == {
        "allow": 6, "redact": 2, "block": 1, "refused": 1, "flag": 1,
    }  # fmt: skip
    assert {one.value: one.turns for one in counts.categories} == {"hate": 2, "personal_data": 2}
    assert {one.value: one.turns for one in counts.rules} == {"hate.en": 2, "card": 2}
    assert {one.value: one.turns for one in counts.groups}["sales"] == 3
    assert [one.turns for one in counts.groups] == sorted((one.turns for one in counts.groups), reverse=True)
    assert [(bar.start, bar.turns) for bar in counts.bars] == [(START, 11)]


async def test_counts_follow_the_filters(search: TurnSearch):
    counts = await search.counts(TurnQuery(subject="bob", since=at(3)), 60)
    assert counts.turns == 2
    assert [(bar.start, bar.turns) for bar in counts.bars] == [(at(5), 1), (at(9), 1)]
    assert {one.value: one.turns for one in counts.verdicts} == {"allow": 1, "refused": 1}
    assert counts.categories == ()
    counts = await search.counts(TurnQuery(category="hate", rule="card"), 86_400)
    assert [(one.value, one.turns) for one in counts.categories] == [("hate", 1), ("personal_data", 1)]
    none = await search.counts(TurnQuery(since=START + timedelta(days=900)), 60)
    assert (none.turns, none.bars, none.groups) == (0, (), ())


async def test_what_is_counted_at_once_is_bounded_and_says_how_far_it_went(search: TurnSearch, monkeypatch):
    if not isinstance(search, SqlTurnSearch):
        return  # an aggregation counts them all
    monkeypatch.setattr("audit.search.counts.MOST_COUNTED", 3)
    newest = await search.counts(TurnQuery(), 3600)
    assert (newest.turns, newest.counted_to) == (3, at(10))
    oldest = await search.counts(TurnQuery(order=Order.OLDEST), 3600)
    assert (oldest.turns, oldest.counted_to) == (3, at(3))
    monkeypatch.setattr("audit.search.counts.MOST_COUNTED", len(turns()))
    assert (await search.counts(TurnQuery(), 3600)).counted_to is None
    monkeypatch.setattr("audit.search.positions.WINDOW", 2)
    monkeypatch.setattr("audit.search.counts.MOST_WINDOWS", 2)
    few = await search.counts(TurnQuery(verdict="allow", group="staff"), 3600)
    assert (few.turns, few.counted_to) == (3, at(7))  # 12, 11; 7 and not 9, which is of another group


@IN_SQL
async def test_an_altered_record_is_listed_and_says_so(search: TurnSearch, raw):
    await raw.disarm()
    await raw.run("UPDATE audit_entry SET leaf = leaf_hash WHERE turn_id = 't07'")
    page = await search.page(TurnQuery(), None, 200)
    assert [turn.turn_id for turn in page.turns if turn.reason == ALTERED] == ["t07"]
    assert len(page.turns) == len(turns())
    assert "t07" in {turn.turn_id for turn in (await search.page(TurnQuery(text="unheard"), None, 5)).turns}


@IN_SQL
async def test_an_altered_text_is_found_by_every_search(search: TurnSearch, raw):
    await raw.disarm()
    await raw.run("UPDATE audit_content SET sealed = wrapped_key WHERE entry_id = "
                  "(SELECT closed_entry FROM audit_turn WHERE turn_id = 't01')")  # fmt: skip
    page = await search.page(TurnQuery(text="unheard of"), None, 5)
    assert [turn.turn_id for turn in page.turns] == ["t01"]


async def test_searches_at_the_same_time(search: TurnSearch):
    queries = [TurnQuery(**filters) for filters, _ in EXPECTED]
    found = await asyncio.gather(*(everything(search, query) for query in queries))
    assert found == [expected for _, expected in EXPECTED]
