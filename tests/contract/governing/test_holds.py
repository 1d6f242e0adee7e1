"""Holds name a case, are records, and cover what fits all that they restrict to."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.covered import holds_between, holds_on
from audit.erasure import HeldError
from audit.governing import GoverningError
from audit.hold import HoldOrder
from audit.record import Content, Kind
from audit.retention import Keeping, Retention
from audit.rows import microseconds
from gateway.history.erasure import HistoryOfPerson
from gateway.history.store import HistoryStore
from gateway.review.keeping import ReviewsOfPerson
from gateway.review.store import Asked, Reviews
from tests.contract.audit.turns import accepted, completed, entry
from tests.contract.governing.conftest import OLD

NOW = datetime.now(UTC)
CASE = {"case_number": "2026-17", "reason": "court order"}


async def test_placing_and_releasing_are_records(log, holds):
    order = HoldOrder(**CASE, subject="alice", since=NOW - timedelta(days=3))
    hold = await holds.place(order, "cli:carol")
    assert [one.hold_id for one in await holds.listed()] == [hold.hold_id]
    released = await holds.release(hold.hold_id, "cli:dave")
    assert (released.placed_by, released.released_by) == ("cli:carol", "cli:dave")
    assert await holds.listed() == ()
    assert await holds.listed(released=True) == (released,)
    with pytest.raises(GoverningError, match="no hold"):
        await holds.release(hold.hold_id, "cli:dave")
    placed, ended = await log.records("hold.placed", "hold.released")
    assert (placed.subject, ended.subject) == ("cli:carol", "cli:dave")
    since = (NOW - timedelta(days=3)).isoformat().replace("+00:00", "Z")
    assert placed.detail == {
        "hold_id": hold.hold_id, "case_number": "2026-17", "held_subject": "alice", "since": since
    }  # fmt: skip
    assert ended.detail == {"hold_id": hold.hold_id, "case_number": "2026-17"}
    assert await log.flaws() == []


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"subject": "alice", "everything": True},
        {"subject": "alice", "case_number": " "},
        {"subject": "alice", "reason": ""},
        {"subject": "alice", "case_number": "x" * 201},
        {"subject": "alice", "case_number": "a\nb"},
        {"since": NOW, "until": NOW},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(log, holds, order):
    with pytest.raises(GoverningError):
        await holds.place(HoldOrder(**{**CASE, **order}), "cli:carol")
    assert await log.records("hold.placed") == []


@pytest.mark.parametrize(
    ("order", "touched"),
    [
        ({"everything": True}, {"alice", "bob", "nobody"}),
        ({"subject": "alice"}, {"alice"}),
        ({"conversation_id": "c1"}, {"alice"}),
        ({"conversation_id": "c2", "subject": "alice"}, set()),
        ({"since": NOW - timedelta(days=1)}, {"bob"}),
        ({"until": NOW - timedelta(days=1)}, {"alice"}),
        ({"since": NOW - OLD - timedelta(days=1), "until": NOW - OLD + timedelta(days=1)}, {"alice"}),
        ({"since": NOW - timedelta(days=1), "subject": "alice"}, set()),
        ({"since": NOW - timedelta(days=1), "conversation_id": "c2"}, {"bob"}),
    ],
)
async def test_whom_a_hold_touches(log, holds, governor, order, touched):
    await log.add_turn("t1", "alice", age=OLD, conversation_id="c1")
    await log.add_turn("t2", "bob", conversation_id="c2")
    hold = await holds.place(HoldOrder(**CASE, **order), "cli:carol")
    async with governor.reading() as connection:
        found = {name: await holds_on(connection, name) for name in ("alice", "bob", "nobody")}
    assert {name for name, several in found.items() if several} == touched
    assert all(several == (hold,) for several in found.values() if several)


async def test_a_turn_that_began_before_the_time_of_a_hold_and_ended_in_it_is_held(log, holds, erasures):
    at = NOW - OLD
    await log.append(accepted("t1", "Q", subject="alice", conversation_id="c1", at=at))
    await log.append(completed("A", "t1", subject="alice", conversation_id="c1", at=at + timedelta(seconds=4)))
    await holds.place(HoldOrder(**CASE, conversation_id="c1", since=at + timedelta(seconds=2)), "cli:carol")
    with pytest.raises(HeldError):
        await erasures.carry_out((await erasures.request("alice", "GDPR-4", "cli:carol")).erasure_id)
    assert (await log.turn("t1")).generated == "A"


async def test_what_is_left_of_a_conversation_whose_turns_were_pruned_is_held(log, governor, holds):
    """Its turn is on no list any more: what was said of it later says itself of which conversation it is."""
    await log.add_turn("t1", "alice", age=OLD, conversation_id="c1")
    comment = {"conversation_id": "c1", "at": NOW - timedelta(days=5), "contents": (Content("comment", "user", "x"),)}
    await log.append(entry(Kind.FEEDBACK_GIVEN, "t1", subject="alice", **comment))
    await log.sign()
    assert (await Retention(governor, Keeping(timedelta(days=180))).run()).pruned == 3
    hold = await holds.place(HoldOrder(**CASE, conversation_id="c1"), "cli:carol")
    await holds.place(HoldOrder(**CASE, conversation_id="c2"), "cli:carol")
    await holds.place(HoldOrder(**CASE, conversation_id="c1", since=NOW), "cli:carol")
    begin, end = (microseconds(NOW - timedelta(days=days)) for days in (6, 4))
    async with governor.reading() as connection:
        assert await holds_on(connection, "alice") == (hold,)
        assert await holds_on(connection, "bob") == ()
        assert await holds_between(connection, begin, end) == (hold,)
        assert await holds_between(connection, end, end + 1) == ()


async def test_what_the_history_keeps_of_a_person_is_held(engine, governor, holds):
    """Retention leaves conversations alone: they may be all that is left of what a hold covers."""
    clock = [NOW - timedelta(days=9)]
    history = HistoryStore(engine, lambda: clock[0])
    told = await history.create("alice")
    clock[0] = NOW - timedelta(days=5)
    begun = await history.begin_turn(told.id, "t1", "typed")
    clock[0] = NOW - timedelta(days=5, seconds=-4)
    await history.save_text(begun.answer, "answered")
    days = {"since": NOW - timedelta(days=5, seconds=-2), "until": NOW - timedelta(days=4)}
    held = [
        await holds.place(HoldOrder(**CASE, **order), "cli:carol")
        for order in ({"conversation_id": told.id}, {"conversation_id": told.id, **days}, days)
    ]
    await holds.place(HoldOrder(**CASE, conversation_id="c2"), "cli:carol")
    await holds.place(HoldOrder(**CASE, conversation_id=told.id, since=NOW - timedelta(days=4)), "cli:carol")
    async with governor.reading() as connection:
        assert await holds_on(connection, "alice", [HistoryOfPerson()]) == tuple(held)
        assert await holds_on(connection, "bob", [HistoryOfPerson()]) == ()


async def test_a_persons_place_in_the_queue_of_reviews_is_held(log, governor, holds):
    await log.append(accepted("t1", "Q", subject="alice", conversation_id="c1"), completed("A", "t1", subject="alice"))
    await Reviews(governor).appeal(Asked("t1", "alice", "c1"))
    yesterday = NOW - timedelta(days=1)
    hold = await holds.place(HoldOrder(**CASE, conversation_id="c1", since=yesterday), "cli:carol")
    earlier = await holds.place(HoldOrder(**CASE, conversation_id="c1", until=yesterday), "cli:carol")
    other = await holds.place(HoldOrder(**CASE, conversation_id="c2"), "cli:carol")
    kept = ReviewsOfPerson()
    async with governor.reading() as connection:
        assert await kept.covered(connection, "alice", hold)
        assert not await kept.covered(connection, "bob", hold)
        assert not await kept.covered(connection, "alice", earlier)
        assert not await kept.covered(connection, "alice", other)
