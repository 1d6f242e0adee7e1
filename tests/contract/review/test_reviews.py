"""The review queue: what comes into it, who decides what, and that every step is a record."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from audit.erasure import Erasures
from audit.governing import GoverningError, Governor, UnknownError
from audit.hold import HoldOrder, Holds
from audit.ledger import ErasureLedger
from audit.record import Entry, FindingRecord, Kind
from audit.retention import MINIMUM, Keeping, Retention
from gateway.database import make_engine
from gateway.history.store import HistoryStore
from gateway.history.tables import message
from gateway.review.collecting import Collector
from gateway.review.keeping import ReviewsOfPerson, ReviewsOfTurns
from gateway.review.records import Label, Place, Source
from gateway.review.store import Asked, Reviews
from safety.verdict import Category
from tests.contract.audit.turns import accepted
from tests.contract.governing.conftest import OLD

HARMLESS = Label(Place.MESSAGE)
HATE = Label(Place.MESSAGE, (Category.HATE,))
APPEAL = Asked("turn-1", "alice", "c-1")


@pytest.fixture
async def reviews(log, governor) -> Reviews:
    """A queue, and a blocked turn on record that may come into it."""
    await log.append(accepted("turn-1", "a question"))
    return Reviews(governor, second_percent=0)


@pytest.fixture
async def answer(engine) -> None:
    """The messages of the blocked turn in the person's history."""
    store = HistoryStore(engine)
    conversation = await store.create("alice")
    await store.begin_turn(conversation.id, "turn-1", "a question")


async def told(engine) -> set[tuple[str, str]]:
    async with engine.connect() as connection:
        rows = await connection.execute(select(message.c.appeal, message.c.appeal_note))
        return {(row.appeal, row.appeal_note) for row in rows}


async def test_an_appeal_is_on_record_and_in_the_queue(log, engine, reviews, answer):
    assert await reviews.appeal(APPEAL)
    assert not await reviews.appeal(APPEAL)  # again changes nothing
    (waiting,) = await reviews.queue(Source.APPEAL)
    assert (waiting.turn_id, waiting.subject, waiting.blocked, waiting.outcome) == ("turn-1", "alice", True, "")
    (record,) = await log.records("appeal.opened")
    assert (record.subject, record.turn_id) == ("alice", "turn-1")
    assert (await reviews.counts())[Source.APPEAL] == 1
    assert await told(engine) == {("open", "")}
    assert await log.flaws() == []


async def test_one_reviewer_who_says_what_the_guards_did_is_enough(log, engine, reviews, answer):
    await reviews.appeal(APPEAL)
    decided = await reviews.label("turn-1", HATE, "carol", note="We must stop this.")
    assert decided.outcome == "harmful"
    assert await told(engine) == {("harmful", "We must stop this.")}
    (record,) = await log.records("review.decided")
    assert record.detail == {
        "outcome": "harmful", "place": "message", "categories": "hate", "harmful": True, "source": "appeal",
        "labels": 1, "by": "carol",
    }  # fmt: skip
    with pytest.raises(GoverningError, match="decided"):
        await reviews.label("turn-1", HARMLESS, "dave")
    with pytest.raises(GoverningError, match="reviewed already"):
        await reviews.appeal(APPEAL)
    assert await log.flaws() == []


async def test_a_block_is_overturned_by_two_and_a_third_decides_between_them(engine, log, reviews, answer):
    await reviews.appeal(APPEAL)
    assert (await reviews.label("turn-1", HARMLESS, "carol")).outcome == ""
    with pytest.raises(GoverningError, match="another reviewer"):
        await reviews.label("turn-1", HARMLESS, "carol")
    assert (await reviews.label("turn-1", HATE, "dave")).outcome == ""
    assert await told(engine) == {("open", "")}
    assert (await reviews.label("turn-1", HARMLESS, "erin")).outcome == "harmless"
    assert await told(engine) == {("harmless", "")}
    assert [one.detail["ordinal"] for one in await log.records("review.labelled")] == [1, 2, 3]
    found = await reviews.agreement()
    assert (found.pairs, found.raw) == (1, 0.0)


async def test_a_second_opinion_can_be_asked_for(reviews):
    await reviews.appeal(APPEAL)
    assert (await reviews.label("turn-1", HATE, "carol", twice=True)).outcome == ""
    assert (await reviews.label("turn-1", HATE, "dave")).outcome == "harmful"
    assert (await reviews.agreement()).raw == 1.0


async def test_nobody_reviews_their_own_turn(reviews):
    await reviews.appeal(APPEAL)
    with pytest.raises(GoverningError, match="of their own"):
        await reviews.label("turn-1", HARMLESS, "alice")
    with pytest.raises(GoverningError, match="of their own"):
        await reviews.assign("turn-1", "alice", "carol")
    assert (await reviews.assign("turn-1", "carol", "carol")).assigned_to == "carol"
    assert (await reviews.assign("turn-1", "", "carol")).assigned_to == ""


async def test_reviewers_at_the_same_moment_make_one_decision(database, log, reviews):
    await reviews.appeal(APPEAL)

    async def label(by: str) -> str:
        engine = make_engine(database)
        try:
            return (await Reviews(Governor(engine), 0).label("turn-1", HATE, by)).outcome
        except GoverningError:
            return "too late"
        finally:
            await engine.dispose()

    said = await asyncio.gather(*(label(f"reviewer{n}") for n in range(5)))
    assert sorted(said) == ["harmful", *["too late"] * 4]
    assert len(await log.records("review.labelled")) == len(await log.records("review.decided")) == 1
    assert await log.flaws() == []


def unsure(turn: str, *, shadow: bool = False, where: str = "message") -> FindingRecord:
    return FindingRecord("classifier", "model.message", "hate", 0, 5, 0.5, 0.4, "uncertain", "flag", where, shadow)


async def test_the_queue_fills_itself_from_the_log_once(log, governor, reviews):
    await log.add_turn("plain")
    await log.add_turn("unsure", findings=(unsure("unsure"),))
    await log.add_turn("on-trial", findings=(unsure("on-trial", shadow=True),))
    await log.add_turn("earlier", findings=(unsure("earlier", where="context.1"),))
    await log.add_turn("old", age=timedelta(days=40), findings=(unsure("old"),))
    closing = {"at": datetime.now(UTC), "subject": "bob", "turn_id": "stopped", "verdict": "escalate"}
    await log.append(Entry(kind=Kind.TURN_ACCEPTED, findings=(unsure("stopped"),), **closing))
    await log.append(Entry(kind=Kind.TURN_BLOCKED, reason="input_blocked", **closing))
    collectors = [Collector(governor, reviews) for _ in range(3)]
    assert await collectors[0].step() == 0  # nothing has its place in the log yet
    await log.sign()
    await asyncio.gather(*(one.step() for one in collectors))
    found = {(one.turn_id, one.source, one.blocked) for one in await reviews.queue()}
    assert found == {("unsure", Source.UNCERTAIN, False), ("stopped", Source.ESCALATED, True)}
    assert await collectors[0].step() == 0
    await reviews.label("unsure", HARMLESS, "carol")  # what the guards did: it passed
    assert [one.turn_id for one in await reviews.queue(decided=True)] == ["unsure"]


async def test_pages_of_the_queue_follow_each_other(log, reviews):
    for number in range(7):
        await log.append(accepted(f"turn-{number}", "a question"))
        await reviews.appeal(Asked(f"turn-{number}", "alice", ""))
    first = await reviews.queue(limit=4)
    rest = await reviews.queue(after=first[-1], limit=4)
    assert [one.turn_id for one in (*first, *rest)] == [f"turn-{number}" for number in range(7)]
    decided = await reviews.label("turn-3", HATE, "carol")
    assert decided.outcome
    assert await reviews.queue(after=await reviews.review("turn-3"), limit=4) == rest  # decided while one read the page
    with pytest.raises(UnknownError):
        await reviews.queue(decided=True, after=first[0])


async def test_the_queue_goes_with_the_turns_that_are_pruned(log, governor, reviews):
    for turn, subject in (("old", "alice"), ("old-decided", "alice"), ("old-held", "bob"), ("new", "alice")):
        await log.add_turn(turn, subject, age=OLD if turn.startswith("old") else timedelta(0))
        await reviews.appeal(Asked(turn, subject, ""))
    await reviews.label("old-decided", HATE, "carol")
    await Holds(governor).place(HoldOrder(case_number="2026-17", reason="court order", subject="bob"), "cli:carol")
    await log.sign()
    retention = Retention(governor, Keeping(MINIMUM), (ReviewsOfTurns(),))
    await retention.run(dry=True)
    assert await reviews.review("old") is not None
    assert (await retention.run()).pruned == 6
    assert [one.turn_id for one in await reviews.queue()] == ["old-held", "new"]
    assert await reviews.queue(decided=True) == ()
    assert (await reviews.agreement()).pairs == 0
    with pytest.raises(GoverningError, match="no longer kept"):
        await reviews.appeal(Asked("old", "alice", ""))
    assert len(await log.records("review.decided")) == 1  # records go by their own age
    assert await log.flaws() == []


async def test_the_queue_forgets_a_person_who_is_erased(log, governor, reviews, tmp_path):
    await log.add_turn("hers", "bob")
    for asked in (APPEAL, Asked("hers", "bob", "")):
        await reviews.appeal(asked)
        await reviews.label(asked.turn_id, HARMLESS, "carol")
    erasures = Erasures(governor, ErasureLedger(tmp_path / "ledger"), (ReviewsOfPerson(),))
    asked = await erasures.request("alice", "GDPR-4", "cli:carol")
    await erasures.carry_out(asked.erasure_id)
    assert [one.turn_id for one in await reviews.queue()] == ["hers"]
    assert await reviews.review("turn-1") is None
    assert len((await reviews.review("hers")).labels) == 1
    assert await log.flaws() == []
