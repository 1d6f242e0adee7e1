"""What officers keep: cases with their turns and notes, saved searches, and the proofs that a turn's page shows."""

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import GoverningError, Governor, UnknownError
from audit.readers import Readers
from audit.tables import ANCHOR
from gateway.cases.searches import MOST, SavedSearches
from gateway.cases.store import MOST_AT_ONCE, Cases
from gateway.console.sealed import Sealer
from gateway.inquiry.proofs import Proofs, Standing
from tests.contract.audit.conftest import MASTER

QUERY = {"subject": "alice", "text": "谁 said <b>"}


@pytest.fixture
def cases(engine: AsyncEngine, governor: Governor, log: Any) -> Cases:
    return Cases(governor, log.log, Readers(engine, MASTER))


@pytest.fixture
def searches(governor: Governor) -> SavedSearches:
    return SavedSearches(governor, Sealer(bytes(32)))


async def test_a_case_holds_turns_and_notes_until_it_is_closed(cases, log):
    for turn in ("t1", "t2", "t3"):
        await log.add_turn(turn)
    case = await cases.open(" C-1 ", "complaint of 3 May", "carol")
    assert await cases.collect(case.case_id, ["t2", "t1", "t2"], "carol") == 2
    assert await cases.collect(case.case_id, ["t1", "t3"], "dave") == 1
    await cases.note(case.case_id, "first: 见第一轮", "carol")
    await cases.note(case.case_id, "second", "dave")
    assert set(await cases.turn_ids(case.case_id)) == {"t1", "t2", "t3"}
    assert [(one.author, one.text) for one in await cases.notes(case.case_id)] == [
        ("carol", "first: 见第一轮"), ("dave", "second"),
    ]  # fmt: skip
    assert [(one.number, one.turns, one.is_open) for one in await cases.listed()] == [("C-1", 3, True)]
    await cases.close(case.case_id, "dave")
    assert await cases.listed() == ()
    (closed,) = await cases.listed(closed=True)
    assert (closed.closed_by, closed.turns, closed.is_open) == ("dave", 3, False)
    kinds = [one.kind.value for one in await log.records() if not one.kind.value.startswith("turn.")]
    assert kinds == ["case.opened", "case.collected", "case.collected", "case.noted", "case.noted", "case.closed"]
    assert await log.flaws() == []


async def test_what_a_case_cannot_be_is_refused_and_leaves_nothing(cases, log):
    case = await cases.open("C-1", "why", "carol")
    await log.add_turn("t1")
    refused = (
        cases.open("C-1", "again", "dave"),
        cases.open("", "why", "carol"),
        cases.open("C-2", " ", "carol"),
        cases.collect(case.case_id, [], "carol"),
        cases.collect(case.case_id, [f"t{at}" for at in range(MOST_AT_ONCE + 1)], "carol"),
        cases.collect("no-such-case", ["t1"], "carol"),
        cases.collect(case.case_id, ["t1", "t2\x00"], "carol"),
        cases.note(case.case_id, " ", "carol"),
        cases.close("no-such-case", "carol"),
    )
    for one in refused:
        with pytest.raises(GoverningError):
            await one
    await cases.close(case.case_id, "carol")
    for one in (cases.collect(case.case_id, ["t1"], "carol"), cases.note(case.case_id, "late", "carol")):
        with pytest.raises(GoverningError, match="is closed"):
            await one
    assert await cases.turn_ids(case.case_id) == ()
    kinds = [one.kind.value for one in await log.records() if not one.kind.value.startswith("turn.")]
    assert kinds == ["case.opened", "case.closed"]


async def test_saved_searches_are_their_owners_alone_and_sealed(searches, raw):
    await searches.save("carol", " poems ", QUERY)
    await searches.save("carol", "other", {})
    await searches.save("dave", "poems", {"rule": "card"})
    mine = await searches.listed("carol")
    assert [(one.name, one.query) for one in mine] == [("poems", QUERY), ("other", {})]
    assert "alice" not in str(await raw.run("SELECT * FROM saved_search"))
    with pytest.raises(UnknownError):
        await searches.forget("dave", mine[0].search_id)
    assert await searches.listed("carol") == mine
    await raw.run("UPDATE saved_search SET owner = 'dave' WHERE owner = 'carol'")
    assert [one.query for one in await searches.listed("dave")] == [{"rule": "card"}]


async def test_saved_searches_are_bounded_and_forgotten(searches):
    for at in range(MOST):
        await searches.save("carol", f"search {at}", {})
    with pytest.raises(GoverningError, match="forget one first"):
        await searches.save("carol", "one more", {})
    await searches.forget("carol", (await searches.listed("carol"))[0].search_id)
    await searches.save("carol", "one more", {})
    assert [one.name for one in await searches.listed("carol")][-1] == "one more"
    for name in ("", " ", "x" * 81, "two\nlines"):
        with pytest.raises(GoverningError, match="plain characters"):
            await searches.save("dave", name, {})


async def test_a_proof_says_where_a_record_stands_and_what_was_altered(log, engine, raw):
    proofs = Proofs(engine, log.keys)
    await log.add_turn("t1")
    size = await log.sign()
    (first, *_, last) = [row[0] for row in await raw.run("SELECT entry_id FROM audit_entry ORDER BY leaf_index")]
    proved = await proofs.of([first, last])
    assert [(one.standing, one.index, one.size) for one in proved.values()] == [
        (Standing.SIGNED, 0, size), (Standing.SIGNED, size - 1, size),
    ]  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(ANCHOR).values(place="file", tree_size=size, at_us=1, receipt=""))
    await log.add_turn("t2")
    (waiting,) = await raw.run("SELECT max(entry_id) FROM audit_entry")
    proved = await proofs.of([first, str(waiting[0]), "no such record"])
    assert [one.standing for one in proved.values()] == [Standing.ANCHORED, Standing.WAITING, Standing.BROKEN]
    await log.sign()
    assert (await proofs.of([str(waiting[0])]))[str(waiting[0])].standing is Standing.SIGNED
    await raw.disarm()
    await raw.run(f"UPDATE audit_entry SET leaf = leaf_hash WHERE entry_id = '{first}'")
    await raw.run(f"UPDATE audit_entry SET leaf_hash = leaf WHERE entry_id = '{first}'")
    await raw.run("UPDATE audit_checkpoint SET note = replace(note, 'A', 'B')")
    assert (await proofs.of([first]))[first].standing is Standing.BROKEN
