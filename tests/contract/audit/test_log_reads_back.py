"""What was appended is read back whole, on every database."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.canonical import entry_of, leaf_hash, leaf_of
from audit.ports import AuditRejectedError, TurnFilter
from audit.record import Content, Kind
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import FINDING, STAGES, accepted, completed, entry, released

HARD_TEXTS = [
    "",
    "你好，世界 🌏",
    "NUL \x00 inside",
    "lone \ud800 and \udfff",
    "\ud800\udc00",
    "a\r\n\tb\\u0041\\",
    "x" * 200_000,
]


async def test_a_turn_comes_back_whole(log):
    await log.append(accepted(history=("Earlier question", "Earlier answer")))
    running = await log.turn("t1")
    assert (running.message, running.delivered, running.closing_kind) == ("Hello?", "", "")

    await log.append(released("One. ", 0))
    await log.append(released("Two [removed].", 5))
    running = await log.turn("t1")
    assert running.delivered == "One. Two [removed]."

    await log.append(completed("One. Two secret.", withheld="secret", verdict="redact", categories=("secret",)))
    trail = await log.turn("t1")
    assert [(one.role, one.text) for one in trail.dialogue] == [
        ("user", "Earlier question"),
        ("assistant", "Earlier answer"),
        ("user", "Hello?"),
    ]
    assert (trail.generated, trail.withheld, trail.delivered) == ("One. Two secret.", "secret", "One. Two [removed].")
    assert (trail.verdict, trail.closing_kind, trail.subject) == ("redact", "turn.completed", "alice")
    assert [record.kind for record in trail.records] == [
        *(Kind.TURN_ACCEPTED, Kind.TURN_RELEASED, Kind.TURN_RELEASED, Kind.TURN_COMPLETED)
    ]
    first = trail.records[0]
    assert (first.stages, first.findings, first.parameters["temperature"]) == (STAGES, (FINDING,), 0.7)
    assert first.contents == first.dialogue == ()


async def test_the_receipt_is_the_hash_of_the_stored_leaf(log, raw):
    (receipt,) = await log.append(accepted())
    rows = await raw.run("SELECT leaf, leaf_hash, leaf_index FROM audit_entry")
    leaf, digest, index = rows[0]
    assert receipt.leaf_hash == digest.hex() == leaf_hash(leaf).hex()
    assert index is None
    assert leaf_of(entry_of(leaf)) == leaf  # canonical
    assert entry_of(leaf).entry_id == receipt.entry_id
    assert await raw.run("SELECT entry_id FROM outbox") == [(receipt.entry_id,)]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=range(len(HARD_TEXTS)))
async def test_no_text_is_lost_or_refused(log, text):
    bounded = text[:1000]
    await log.append(
        accepted(
            bounded + "t",
            message=text,
            history=(text, text + "!"),
            subject=bounded + "s",
            conversation_id=bounded,
            name=bounded,
            user_agent=bounded,
            groups=(bounded,),
            detail={bounded + "k": bounded},
        ),
        released(text, 0, bounded + "t", subject=bounded + "s"),
        completed(text, bounded + "t", withheld=text, subject=bounded + "s"),
    )
    trail = await log.turn(bounded + "t")
    assert (trail.message, trail.generated, trail.withheld, trail.delivered) == (text,) * 4
    assert [one.text for one in trail.dialogue] == [text, text + "!", text]
    record = trail.records[0]
    assert (record.subject, record.name, record.groups) == (bounded + "s", bounded, (bounded,))
    assert record.detail == {bounded + "k": bounded}
    found = await log.turns(TurnFilter(subject=bounded + "s"))
    assert [turn.turn_id for turn in found] == [bounded + "t"]


async def test_lists_filter_sort_and_end(log):
    begin = datetime(2026, 11, 20, tzinfo=UTC)
    for number in range(6):
        subject, turn = ("alice", "bob")[number % 2], f"t{number}"
        at = begin + timedelta(minutes=number)
        await log.append(
            accepted(turn, subject=subject, at=at, conversation_id=f"c{number // 2}"),
            completed("ok", turn, subject=subject, verdict="block" if number == 4 else "allow", reason="why", at=at),
        )
    await log.append(accepted("running", at=begin + timedelta(hours=1), conversation_id="c9"))

    async def listed(**which):
        return [turn.turn_id for turn in await log.turns(TurnFilter(**which))]

    assert await listed() == ["running", "t5", "t4", "t3", "t2", "t1", "t0"]
    assert await listed(limit=2) == ["running", "t5"]
    assert await listed(limit=0) == []
    assert await listed(subject="bob") == ["t5", "t3", "t1"]
    assert await listed(subject="nobody") == []
    assert await listed(conversation_id="c1", subject="alice") == ["t2"]
    assert await listed(verdict="block") == ["t4"]
    assert await listed(since=begin + timedelta(minutes=4), until=begin + timedelta(minutes=5)) == ["t4"]
    summary = (await log.turns(TurnFilter(verdict="block")))[0]
    assert (summary.closing_kind, summary.reason, summary.subject) == ("turn.completed", "why", "alice")
    assert summary.at == begin + timedelta(minutes=4)


async def test_records_are_read_oldest_first_and_by_kind(log):
    await log.append(entry(Kind.LOGIN, ""), accepted(), completed("x"))
    await log.append(*(entry(Kind.LOGIN, "", f"user{number}") for number in range(1200)))
    everything = [one async for one in log.entries(limit=10_000)]
    assert len(everything) == 1203
    assert [one.kind for one in everything[:3]] == [Kind.LOGIN, Kind.TURN_ACCEPTED, Kind.TURN_COMPLETED]
    assert [one.subject for one in everything[3:]] == [f"user{number}" for number in range(1200)]
    assert len([one async for one in log.entries(("login",))]) == 1000
    assert [one.kind async for one in log.entries(("turn.completed", "logout"))] == [Kind.TURN_COMPLETED]


async def test_a_refusal_and_feedback_are_found_with_their_texts(log):
    text = Content("message", "user", "too much")
    await log.append(entry(Kind.TURN_REFUSED, "t9", verdict="refused", reason="rate_limited", contents=(text,)))
    trail = await log.turn("t9")
    assert (trail.message, trail.reason, trail.closing_kind) == ("too much", "rate_limited", "turn.refused")
    comment = Content("comment", "user", "unfair")
    await log.append(entry(Kind.FEEDBACK_GIVEN, "t9", detail={"rating": -1}, contents=(comment,)))
    trail = await log.turn("t9")
    assert trail.comments == (comment,)
    assert trail.closing_kind == "turn.refused"


async def test_what_is_not_there_is_none(log):
    assert await log.turn("t1") is None
    assert await log.turn("") is None
    await log.append(entry(Kind.ACCESS_READ, "t1", "cli:root", detail={"found": False}))
    assert await log.turn("t1") is None
    assert await log.turns(TurnFilter()) == ()


async def test_an_entry_that_cannot_be_written_harms_no_other(log):
    good = [log.append(accepted(f"t{number}")) for number in range(20)]
    bad = log.append(accepted("bad", detail={"x": float("nan")}))
    results = await asyncio.gather(*good[:10], bad, *good[10:], return_exceptions=True)
    assert [number for number, one in enumerate(results) if isinstance(one, Exception)] == [10]
    assert isinstance(results[10], AuditRejectedError)
    assert len(await log.turns(TurnFilter())) == 20


async def test_nothing_of_a_text_stands_in_the_database_in_the_clear(database, raw):
    marker = "Zebra-7141-Marker"
    async with opened(database) as log:
        await log.append(accepted(message=f"my {marker}", history=(f"old {marker}",)), released(marker, 0))
        await log.append(completed(marker, withheld=marker))
    if raw.sqlite:
        held = await asyncio.to_thread(Path(database.partition(":///")[2]).read_bytes)
        assert marker.encode() not in held
        return
    for table in ("audit_entry", "audit_content", "audit_text", "audit_turn", "outbox", "subject_key"):
        rows = await raw.run(f"SELECT * FROM {table}")
        assert rows
        assert not any(marker.encode() in bytes(cell) for row in rows for cell in row if isinstance(cell, bytes))
        assert marker not in str(rows)


async def test_a_history_that_is_sent_again_is_stored_once(log, raw):
    history: tuple[str, ...] = ()
    for number in range(30):
        question = f"question {number} " + "x" * 500
        await log.append(accepted(f"t{number}", message=question, history=history))
        history = (*history, question, f"answer {number} " + "y" * 500)
    assert await raw.run("SELECT count(*) FROM audit_text") == [(59,)]
    trail = await log.turn("t29")
    assert [one.text for one in trail.dialogue] == [*history[:-1]]
    await log.append(accepted("other", subject="bob", message="question 0 " + "x" * 500))
    assert await raw.run("SELECT count(*) FROM audit_text") == [(60,)]  # per person
