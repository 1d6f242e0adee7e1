import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from gateway.identifiers import uuid7
from gateway.problems import AuditUnavailableProblemError, OverloadedError, RateLimitedError
from gateway.turn_events import Outcome, Surface, TextReleased, TurnEnded, TurnRequest
from gateway.usage.tokens import likely_tokens
from inference.ports import Message, Role
from tests.unit.web.scripted import (
    MemoryAudit,
    OneModel,
    ScriptedTurns,
    Step,
    answering,
    blocked,
    completed,
    events,
    make_app,
    say,
    started,
)

Make = Callable[..., Awaitable[str]]


async def test_a_turn_is_streamed_and_kept(page: AsyncTestClient, conversation: Make, turns: ScriptedTurns):
    cid = await conversation()
    turns.script = answering("Hello **you**. ", "Bye.")
    answer = await say(page, cid, "hi there")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in answer.headers
    names = [name for name, _ in events(answer.text)]
    assert names == ["started", "released", "released", "ended"]
    (_, first), (_, one), (_, two), (_, last) = events(answer.text)
    assert one == {"text": "Hello **you**. ", "keep": 0, "pieces": ["<p>Hello <strong>you</strong>.</p>\n"]}
    assert two["pieces"] == ["<p>Hello <strong>you</strong>. Bye.</p>\n"]
    assert last["turn"]["outcome"] == "completed"
    assert last["title"] == "hi there"
    assert last["message_id"] == first["message_id"]
    assert "34 tokens" in last["footer"]
    stored = (await page.get(f"/c/{cid}")).text
    assert "<p>Hello <strong>you</strong>. Bye.</p>" in stored
    assert last["footer"] in stored
    request = turns.requests[0]
    assert (request.surface, request.streamed, request.conversation_id) == (Surface.PAGE, True, cid)
    assert request.messages == (Message(Role.USER, "hi there"),)


async def test_later_turns_send_earlier_exchanges_but_never_a_blocked_one(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    await say(page, cid, "one")
    turns.script = lambda _: [blocked(uuid7())]
    refused = events((await say(page, cid, "forbidden")).text)
    assert [name for name, _ in refused] == ["ended"]
    turns.script = lambda _: [
        started(turn := uuid7()),
        TextReleased("part "),
        blocked(turn, "output_blocked", categories=("violence",)),
    ]
    await say(page, cid, "leads to a bad answer")
    turns.script = answering("fine")
    await say(page, cid, "hello")
    assert [m.content for m in turns.requests[-1].messages] == ["one", "Hello.", "hello"]
    shown = (await page.get(f"/c/{cid}")).text
    assert "forbidden" in shown
    assert "bubble-blocked" in shown
    assert "part" in shown


async def test_a_block_is_explained_in_plain_words(page: AsyncTestClient, conversation: Make, turns: ScriptedTurns):
    cid = await conversation()
    turns.script = lambda _: [blocked(uuid7())]
    for language, words in {
        "en": ("Your message was not sent to the model", "Manipulation of the assistant", "Override attempt"),
        "zh-CN": ("您的消息没有发送给模型", "操纵助手", "越权尝试"),
    }.items():
        answer = await page.post(f"/chat/{cid}/turns", json={"text": "x"}, headers={"accept-language": language})
        footer = events(answer.text)[0][1]["footer"]
        assert all(word in footer for word in (*words, "attack.override"))
        assert '<details class="why">' in footer


async def test_who_may_be_in_danger_sees_where_help_is_without_asking(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = lambda _: [blocked(uuid7(), categories=("self_harm",))]
    for language, words in {"en": "local emergency number", "zh-CN": "当地的急救电话"}.items():
        answer = await page.post(f"/chat/{cid}/turns", json={"text": "x"}, headers={"accept-language": language})
        footer = events(answer.text)[0][1]["footer"]
        assert '<details class="why" open>' in footer
        assert words in footer


async def test_a_conversation_of_blocked_messages_alone_is_known_by_its_time(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = lambda _: [blocked(uuid7())]
    assert events((await say(page, cid, "forbidden")).text)[-1][1]["title"] == ""
    for language, words in {"en": r">Conversation of 20\d\d-[\d: -]+</", "zh-CN": r">20\d\d-[\d: -]+ 的对话</"}.items():
        headers = {"accept-language": language}
        for path in ("/chat/conversations", f"/c/{cid}"):
            assert re.search(words, (await page.get(path, headers=headers)).text), path
    turns.script = answering("fine")
    await say(page, cid, "hello")
    assert f'/c/{cid}" dir="auto" title="hello">hello<' in (await page.get("/chat/conversations")).text


async def test_an_answer_that_reached_its_longest_length_says_so(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = lambda _: [
        started(turn := uuid7()),
        TextReleased("and so"),
        TurnEnded(turn_id=turn, outcome=Outcome.COMPLETED, finish_reason="length"),
    ]
    assert "reached its longest length" in events((await say(page, cid)).text)[-1][1]["footer"]
    assert "reached its longest length" in (await page.get(f"/c/{cid}")).text


async def test_every_end_has_words(page: AsyncTestClient, conversation: Make, turns: ScriptedTurns):
    cid = await conversation()
    ends = [
        (Outcome.BLOCKED, "guard_failed", "a check could not run"),
        (Outcome.BLOCKED, "something_new", "This turn was blocked"),
        (Outcome.ABORTED, "model_failed", "The model stopped answering"),
        (Outcome.ABORTED, "audit_unavailable", "could not be recorded"),
        (Outcome.ABORTED, "client_gone", "Stopped"),
        (Outcome.ABORTED, "something_new", "ended early"),
    ]
    for outcome, reason, words in ends:
        turns.script = lambda _, o=outcome, r=reason: [
            started(turn := uuid7()),
            TurnEnded(turn_id=turn, outcome=o, reason=r),
        ]
        assert words in events((await say(page, cid)).text)[-1][1]["footer"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RateLimitedError(retry_after=7), 429, "rate-limited"),
        (OverloadedError(retry_after=3), 503, "overloaded"),
        (AuditUnavailableProblemError(retry_after=5), 503, "audit-unavailable"),
    ],
)
async def test_a_refused_turn_is_a_problem_and_leaves_no_trace_in_the_history(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns, error: RateLimitedError, status: int, code: str
):
    cid = await conversation()
    turns.script = lambda _: [error]
    answer = await say(page, cid)
    assert answer.status_code == status
    assert answer.headers["retry-after"] == str(error.retry_after)
    assert answer.json()["type"] == f"urn:attest:problem:{code}"
    assert "data-message=" not in (await page.get(f"/c/{cid}")).text


async def test_a_failure_in_the_middle_is_said_and_what_was_shown_is_kept(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = lambda _: [started(uuid7()), TextReleased("Half an "), AuditUnavailableProblemError()]
    found = events((await say(page, cid)).text)
    assert [name for name, _ in found] == ["started", "released", "problem"]
    assert found[-1][1]["type"] == "urn:attest:problem:audit-unavailable"
    stored = (await page.get(f"/c/{cid}")).text
    assert "Half an" in stored
    assert "ended early" in stored


async def test_a_database_that_goes_in_the_middle_ends_the_stream_and_gets_the_end_when_it_is_back(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.database.BUSY_TIMEOUT_MS", 200)
    monkeypatch.setattr("gateway.web.turn_feed.SAVE_EVERY_S", 0.0)
    cid = await conversation()
    other = sqlite3.connect(tmp_path / "history.db", isolation_level=None, check_same_thread=False)

    def script(_: TurnRequest) -> Iterator[Step]:
        yield started(uuid7())
        yield TextReleased("Half ")
        other.execute("BEGIN IMMEDIATE")
        yield TextReleased("an answer.")

    turns.script = script
    async with asyncio.timeout(10):
        found = events((await say(page, cid)).text)
    assert [name for name, _ in found] == ["started", "released", "problem"]
    assert found[-1][1]["type"] == "urn:attest:problem:database-unavailable"
    assert turns.closings
    other.rollback()
    other.close()
    for _ in range(200):
        if turns.closings:
            await asyncio.sleep(0.05)
    stored = (await page.get(f"/c/{cid}")).text
    assert "Half an answer." in stored
    assert "ended early" in stored


async def test_earlier_exchanges_leave_room_for_an_answer_in_what_the_model_takes(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns, monkeypatch: pytest.MonkeyPatch
):
    cid = await conversation()
    for number in range(6):
        await say(page, cid, f"question {number}")
    monkeypatch.setattr(OneModel, "tokens", 4 * 26)
    await say(page, cid, "the last")
    asked = turns.requests[-1].messages
    assert [m.content for m in asked] == ["question 4", "Hello.", "question 5", "Hello.", "the last"]
    assert sum(likely_tokens(m.content) for m in asked) <= 3 * 26
    monkeypatch.setattr(OneModel, "tokens", 26)
    await page.post(f"/chat/{cid}/turns", json={"regenerate": True})
    assert [m.content for m in turns.requests[-1].messages] == ["the last"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"text":5}', 400),
        (b'{"text":""}', 400),
        (b'{"text":" \\n\\t "}', 400),
        (b'{"text":"hi","extra":1}', 400),
        (b'{"text":"hi","regenerate":true}', 400),
        (b'{"regenerate":true,"answer":"x"}', 400),
        (b'{"text":"a\\u0000b"}', 400),
        (b'{"text":"\\ud800"}', 400),
        (json.dumps({"text": "x" * 101}).encode(), 413),
    ],
)
async def test_bad_bodies_are_problems(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns, body: bytes, status: int
):
    cid = await conversation()
    answer = await page.post(f"/chat/{cid}/turns", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert turns.requests == []


async def test_a_text_that_is_slow_to_parse_is_shown_less_often_but_whole(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = answering(*["[" * 200] * 60)
    began = time.monotonic()
    released = [data for name, data in events((await say(page, cid)).text) if name == "released"]
    assert time.monotonic() - began < 10
    assert "".join(data["text"] for data in released) == "[" * 12_000
    assert any(data["pieces"] is None for data in released)
    assert "".join(released[-1]["pieces"]).count("[") == 12_000


async def test_many_turns_at_once_stay_apart(tmp_path: Path, audit: MemoryAudit):
    turns = ScriptedTurns()

    def script(request: TurnRequest) -> list[Any]:
        turn_id = uuid7()
        said = request.messages[-1].content
        return [
            started(turn_id),
            *(step for _ in range(5) for step in (0.01, TextReleased(said + " "))),
            completed(turn_id),
        ]

    turns.script = script
    async with AsyncTestClient(make_app(tmp_path, turns, audit)) as page:
        ids = [(await page.post("/chat/conversations")).json()["id"] for _ in range(10)]
        answers = await asyncio.gather(*(say(page, cid, f"word{n}") for n, cid in enumerate(ids)))
        for number, (answer, cid) in enumerate(zip(answers, ids, strict=True)):
            texts = "".join(data["text"] for name, data in events(answer.text) if name == "released")
            assert texts == f"word{number} " * 5
            assert ("word" + str(number) + " ") * 4 in (await page.get(f"/c/{cid}")).text
