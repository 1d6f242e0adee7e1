"""Holds name a case, are records, and cover what fits all that they restrict to."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.governing import GoverningError
from audit.hold import HoldOrder, holds_on
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
