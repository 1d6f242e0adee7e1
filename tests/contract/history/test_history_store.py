import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import inspect

from gateway.database import make_engine
from gateway.history.records import RUNNING
from gateway.history.store import HistoryStore, title_from
from gateway.history.tables import metadata
from gateway.identifiers import uuid7
from gateway.turn_events import Outcome, TurnEnded
from gateway.usage.tokens import likely_tokens
from inference.ports import Message, Role, Usage


def ended(turn_id: str, outcome: Outcome = Outcome.COMPLETED, **fields: object) -> TurnEnded:
    return TurnEnded(turn_id=turn_id, outcome=outcome, **fields)  # type: ignore[arg-type]


async def exchange(
    history: HistoryStore, conversation_id: str, said: str, answer: str, outcome: Outcome = Outcome.COMPLETED, **fields
) -> str:
    turn_id = uuid7()
    opened = await history.begin_turn(conversation_id, turn_id, said)
    await history.end_turn(conversation_id, opened, answer, ended(turn_id, outcome, **fields))
    return turn_id


async def context(history: HistoryStore, conversation_id: str, messages: int = 100, characters: int = 10_000, **kw):
    found = await history.context(conversation_id, messages=messages, characters=characters, **kw)
    return [message.content for message in found]


async def test_a_turn_is_read_back_as_it_ended(history: HistoryStore):
    made = await history.create("alice")
    turn_id = uuid7()
    opened = await history.begin_turn(made.id, turn_id, "hi", redacted=True)
    running = await history.messages(made.id)
    assert [(m.role, m.text, m.outcome) for m in running] == [("user", "hi", RUNNING), ("assistant", "", RUNNING)]
    await history.end_turn(
        made.id,
        opened,
        "hello",
        ended(turn_id, usage=Usage(3, 5), duration_ms=40, redacted=True, categories=("secret",), rules=("a.b",)),
    )
    user, answer = await history.messages(made.id)
    assert (user.id, user.redacted, user.outcome) == (opened.user_message, True, "completed")
    assert (answer.text, answer.tokens, answer.duration_ms, answer.redacted) == ("hello", 5, 40, True)
    assert (answer.categories, answer.rules, answer.turn_id) == (("secret",), ("a.b",), turn_id)


async def test_what_was_delivered_so_far_can_be_saved_while_the_turn_runs_and_not_after(history: HistoryStore):
    made = await history.create("alice")
    turn_id = uuid7()
    opened = await history.begin_turn(made.id, turn_id, "hi")
    await history.save_text(opened.answer, "half")
    assert (await history.messages(made.id))[1].text == "half"
    await history.end_turn(made.id, opened, "half and whole", ended(turn_id))
    await history.save_text(opened.answer, "late")
    assert (await history.messages(made.id))[1].text == "half and whole"


async def test_context_holds_whole_exchanges_in_order(history: HistoryStore):
    made = await history.create("alice")
    await exchange(history, made.id, "one", "1")
    await exchange(history, made.id, "two", "2", Outcome.ABORTED, reason="client_gone")
    found = await history.context(made.id, messages=10, characters=100)
    assert found == (
        Message(Role.USER, "one"),
        Message(Role.ASSISTANT, "1"),
        Message(Role.USER, "two"),
        Message(Role.ASSISTANT, "2"),
    )


@pytest.mark.parametrize("reason", ["input_blocked", "output_blocked", "guard_failed"])
async def test_a_blocked_turn_stays_in_view_and_out_of_the_context(history: HistoryStore, reason: str):
    made = await history.create("alice")
    await exchange(history, made.id, "fine", "ok")
    await exchange(history, made.id, "forbidden", "part of it", Outcome.BLOCKED, reason=reason)
    await exchange(history, made.id, "hello", "again")
    assert [m.text for m in await history.messages(made.id)] == [
        "fine", "ok", "forbidden", "part of it", "hello", "again"
    ]  # fmt: skip
    assert await context(history, made.id) == ["fine", "ok", "hello", "again"]


async def test_a_turn_without_text_or_still_running_is_out_of_the_context(history: HistoryStore):
    made = await history.create("alice")
    await exchange(history, made.id, "nothing came", "", Outcome.ABORTED, reason="model_failed")
    opened = await history.begin_turn(made.id, uuid7(), "running")
    await history.save_text(opened.answer, "some")
    assert await context(history, made.id) == []


async def test_context_keeps_the_newest_within_all_bounds(history: HistoryStore):
    made = await history.create("alice")
    for number in range(4):
        await exchange(history, made.id, f"q{number}", f"a{number}")
    assert await context(history, made.id, messages=5) == ["q2", "a2", "q3", "a3"]
    assert await context(history, made.id, characters=11) == ["q2", "a2", "q3", "a3"]
    assert await context(history, made.id, characters=3) == []
    one = likely_tokens("q3") + likely_tokens("a3")
    assert await context(history, made.id, tokens=2 * one) == ["q2", "a2", "q3", "a3"]
    assert await context(history, made.id, tokens=2 * one - 1) == ["q3", "a3"]
    assert await context(history, made.id, tokens=-1) == []


async def test_a_regenerated_answer_replaces_the_last_one_in_view_and_context(history: HistoryStore):
    made = await history.create("alice")
    first = await exchange(history, made.id, "q", "bad")
    assert await context(history, made.id, without_turn=first) == []
    again = uuid7()
    opened = await history.begin_turn(made.id, again, "q", replaces=first)
    await history.end_turn(made.id, opened, "good", ended(again))
    assert [m.text for m in await history.messages(made.id)] == ["q", "good"]
    assert await context(history, made.id) == ["q", "good"]


async def test_titles_come_from_the_first_message_that_was_not_blocked(history: HistoryStore):
    made = await history.create("alice")
    await exchange(history, made.id, "forbidden", "", Outcome.BLOCKED, reason="input_blocked")
    assert [c.title for c in await history.conversations("alice")] == [""]
    await exchange(history, made.id, "\n  Plan the move\nof everything", "ok")
    await exchange(history, made.id, "something else", "ok")
    assert [c.title for c in await history.conversations("alice")] == ["Plan the move"]
    assert title_from("x" * 100) == "x" * 59 + "…"


async def test_a_name_that_the_person_gave_stays(history: HistoryStore):
    made = await history.create("alice")
    assert await history.rename("alice", made.id, "Mine")
    await exchange(history, made.id, "hi", "ok")
    assert [c.title for c in await history.conversations("alice")] == ["Mine"]


async def test_deleted_and_foreign_and_empty_conversations_are_not_there(history: HistoryStore):
    made = await history.create("alice")
    assert await history.conversations("alice") == ()
    await exchange(history, made.id, "hi", "ok")
    answer = (await history.messages(made.id))[1]
    assert await history.conversation("bob", made.id) is None
    assert await history.message("bob", answer.id) is None
    assert not await history.rename("bob", made.id, "x")
    assert not await history.delete("bob", made.id)
    assert await history.delete("alice", made.id)
    assert not await history.delete("alice", made.id)
    assert await history.conversations("alice") == ()
    assert await history.message("alice", answer.id) is None
    assert not await history.restore("bob", made.id)
    assert await history.restore("alice", made.id)
    assert [c.id for c in await history.conversations("alice")] == [made.id]


async def test_lists_continue_where_they_ended(history: HistoryStore):
    ids = []
    for number in range(5):
        made = await history.create("alice")
        ids.insert(0, made.id)
        await exchange(history, made.id, f"q{number}", "a")
    first = await history.conversations("alice", limit=2)
    rest = await history.conversations("alice", before=first[-1])
    assert [c.id for c in (*first, *rest)] == ids


async def test_messages_are_read_in_pages_from_the_end(history: HistoryStore):
    made = await history.create("alice")
    for number in range(5):
        await exchange(history, made.id, f"q{number}", f"a{number}")
    last = await history.messages(made.id, limit=4)
    assert [m.text for m in last] == ["q3", "a3", "q4", "a4"]
    before = await history.messages(made.id, before=last[0].position, limit=2)
    assert [m.text for m in before] == ["q2", "a2"]


async def test_two_tabs_at_once_get_places_one_after_another(history: HistoryStore):
    made = await history.create("alice")
    await asyncio.gather(*(history.begin_turn(made.id, uuid7(), f"q{n}") for n in range(8)))
    assert [m.position for m in await history.messages(made.id)] == list(range(1, 17))


async def test_a_rating_is_kept(history: HistoryStore):
    made = await history.create("alice")
    await exchange(history, made.id, "q", "a")
    answer = (await history.messages(made.id))[1]
    await history.rate(answer.id, -1, "wrong\x00")
    stored = await history.message("alice", answer.id)
    assert stored is not None
    assert (stored.rating, stored.comment) == (-1, "wrong�")


async def test_what_no_database_takes_is_stored_all_the_same(history: HistoryStore):
    made = await history.create("alice")
    await exchange(history, made.id, "nul \x00 in it", "answer \x00 with one 😀 " + "汉" * 50_000)
    user, answer = await history.messages(made.id)
    assert user.text == "nul \ufffd in it"
    assert answer.text.startswith("answer \ufffd with one 😀 汉")
    assert len(answer.text) == 50_020


async def test_times_come_back_in_utc(history: HistoryStore):
    made = await history.create("alice")
    await exchange(history, made.id, "q", "a")
    (listed,) = await history.conversations("alice")
    assert listed.created_at == made.created_at
    assert listed.created_at.utcoffset() == timedelta(0)
    assert listed.updated_at > listed.created_at


async def test_the_tables_of_the_migration_are_those_of_the_code(database: str):
    engine = make_engine(database)
    async with engine.connect() as connection:
        found = await connection.run_sync(
            lambda sync: {
                name: {column["name"]: column["nullable"] for column in inspect(sync).get_columns(name)}
                for name in metadata.tables
            }
        )
    await engine.dispose()
    assert found == {
        name: {column.name: column.nullable for column in table.columns} for name, table in metadata.tables.items()
    }
