"""Holds by what turns are found by, and by turns that are named one by one."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from audit.covered import holds_between, holds_on
from audit.erasure import HeldError
from audit.governing import GoverningError, UnknownError
from audit.hold import MOST_TURNS, HoldOrder
from audit.record import Content, FindingRecord, Kind
from audit.rows import microseconds
from tests.contract.audit.turns import accepted, completed, entry
from tests.contract.governing.conftest import OLD

NOW = datetime.now(UTC)
CASE = {"case_number": "2026-17", "reason": "court order"}
FOUND = FindingRecord(
    guard="filters.personal_data", rule="personal_data.card", category="personal_data", start=0, end=4, score=1.0,
    threshold=1.0, band="block", action="redact", where="answer",
)  # fmt: skip
ALL = {"a1", "a2", "b1"}
HELD = [
    ({"group": "finance"}, {"a1", "b1"}),
    ({"verdict": "redact"}, {"a2"}),
    ({"category": "personal_data"}, {"a2"}),
    ({"rule": "personal_data.card"}, {"a2"}),
    ({"model": "glm"}, {"b1"}),
    ({"model": "glm", "subject": "alice"}, set()),
    ({"group": "finance", "subject": "alice"}, {"a1"}),
    ({"group": "finance", "conversation_id": "cb1"}, {"b1"}),
    ({"group": "finance", "since": NOW}, set()),
    ({"group": "finance", "model": "glm"}, {"b1"}),
    ({"turn_ids": ("a1", "b1", "a1")}, {"a1", "b1"}),
    ({"turn_ids": ("a1", "b1"), "subject": "bob"}, {"b1"}),
    ({"turn_ids": ("a1",), "verdict": "redact"}, set()),
]


async def three_turns(log):
    """Two of Alice's, of which one had a card in its answer; one of Bob's."""
    at, later = NOW - OLD, NOW - OLD + timedelta(seconds=3)
    await log.add_turn("a1", "alice", age=OLD, conversation_id="ca1", groups=("finance", "staff"))
    await log.append(accepted("a2", "Q", subject="alice", at=at, conversation_id="ca2"))
    await log.append(completed("A", "a2", subject="alice", at=later, verdict="redact", findings=(FOUND,)))
    await log.add_turn("b1", "bob", age=OLD, conversation_id="cb1", groups=("finance",), model="glm")
    await log.sign()


async def left(log):
    return {turn for turn in ALL if await log.turn(turn) is not None}


@pytest.mark.parametrize(("order", "held"), HELD)
async def test_retention_keeps_what_fits_and_nothing_else(log, holds, retention, order, held):
    await three_turns(log)
    hold = await holds.place(HoldOrder(**CASE, **order), "cli:carol")
    assert (await retention.run(dry=True)).held == (await retention.run()).held > (0 if held else -1)
    assert await left(log) == held
    await holds.release(hold.hold_id, "cli:carol")
    await retention.run()
    assert await left(log) == set()
    assert await log.flaws() == []


@pytest.mark.parametrize(("order", "held"), HELD)
async def test_persons_and_months_are_held_as_their_turns_are(log, holds, governor, order, held):
    await three_turns(log)
    hold = await holds.place(HoldOrder(**CASE, **order), "cli:carol")
    begin, end = (microseconds(NOW - OLD + timedelta(days=days)) for days in (-1, 1))
    people = {{"a": "alice", "b": "bob"}[turn[0]] for turn in held}
    async with governor.reading() as connection:
        touched = {who for who in ("alice", "bob", "nobody") if await holds_on(connection, who)}
        assert touched == people
        assert await holds_between(connection, begin, end) == ((hold,) if held else ())
        assert await holds_between(connection, end, end + 1) == ()


async def test_what_is_said_of_a_held_turn_later_is_held_with_it(log, holds, retention, raw):
    await three_turns(log)
    for turn in ("a1", "a2"):
        comment = {"at": NOW - OLD + timedelta(hours=1), "contents": (Content("comment", "user", "x"),)}
        await log.append(entry(Kind.FEEDBACK_GIVEN, turn, subject="alice", **comment))
    await log.sign()
    await holds.place(HoldOrder(**CASE, turn_ids=("a2",)), "cli:carol")
    await retention.run()
    assert await raw.run("SELECT turn_id FROM audit_entry WHERE kind = 'feedback.given' AND length(leaf) > 0") == [
        ("a2",)
    ]


async def test_an_erasure_waits_for_a_hold_on_one_of_the_turns(log, holds, erasures):
    await three_turns(log)
    hold = await holds.place(HoldOrder(**CASE, turn_ids=("a2",)), "cli:carol")
    asked = await erasures.request("alice", "GDPR-4", "cli:carol")
    with pytest.raises(HeldError):
        await erasures.carry_out(asked.erasure_id)
    assert (await log.turn("a2")).generated == "A"
    bob = await erasures.request("bob", "GDPR-5", "cli:carol")
    await erasures.carry_out(bob.erasure_id)
    await holds.release(hold.hold_id, "cli:carol")
    await erasures.carry_out(asked.erasure_id)
    assert (await log.turn("a2")).generated == ""


async def test_the_record_says_what_is_held(log, holds):
    await three_turns(log)
    await holds.place(HoldOrder(**CASE, group="finance", verdict="block"), "cli:carol")
    hold = await holds.place(HoldOrder(**CASE, turn_ids=("b1", "a1")), "cli:carol")
    assert (hold.turns, [one.turns for one in await holds.listed()]) == (2, [0, 2])
    by_query, named = (record.detail for record in await log.records("hold.placed"))
    assert (by_query["group"], by_query["verdict"]) == ("finance", "block")
    assert (named["turns"], named["turns_sha256"]) == (2, hashlib.sha256(b"a1\nb1").hexdigest())
    assert not {"since", "model", "held_subject"} & (by_query.keys() | named.keys())


async def test_a_turn_that_is_not_in_the_log_cannot_be_held(log, holds):
    await three_turns(log)
    with pytest.raises(UnknownError):
        await holds.place(HoldOrder(**CASE, turn_ids=("a1", "nothing")), "cli:carol")
    for order in ({"turn_ids": ("x",) * (MOST_TURNS + 1)}, {"group": "x" * 201}, {"rule": "r", "everything": True}):
        with pytest.raises(GoverningError):
            await holds.place(HoldOrder(**CASE, **order), "cli:carol")
    assert await holds.listed() == ()
    assert await log.records("hold.placed") == []
