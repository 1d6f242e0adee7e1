"""An answer that is asked for again: of the last question alone, and kept where it is refused."""

import re
from collections.abc import Awaitable, Callable

from litestar.testing import AsyncTestClient

from gateway.problems import RateLimitedError
from tests.unit.web.scripted import (
    ScriptedTurns,
    answering,
    say,
)

Make = Callable[..., Awaitable[str]]


async def test_regenerate_repeats_the_message_and_replaces_the_answer(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = answering("old answer")
    await say(page, cid, "question")
    turns.script = answering("second")
    answer = await page.post(f"/chat/{cid}/turns", json={"regenerate": True})
    assert answer.status_code == 200
    assert [m.content for m in turns.requests[-1].messages] == ["question"]
    stored = (await page.get(f"/c/{cid}")).text
    assert "second" in stored
    assert "old answer" not in stored
    assert stored.count('class="message message-user"') == 2, "one shown, one in the template"


def answer_id(shown: str) -> str:
    return re.findall(r'message-answer" data-message="([0-9a-f-]+)"', shown)[-1]


async def test_an_answer_that_is_not_the_last_one_any_more_is_not_repeated(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    await say(page, cid, "first question")
    first = answer_id((await page.get(f"/c/{cid}")).text)
    await say(page, cid, "second question")
    asked = len(turns.requests)
    for stale in (first, cid):
        answer = await page.post(f"/chat/{cid}/turns", json={"regenerate": True, "answer": stale})
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:attest:problem:conflict"
    assert len(turns.requests) == asked
    last = answer_id((await page.get(f"/c/{cid}")).text)
    assert (await page.post(f"/chat/{cid}/turns", json={"regenerate": True, "answer": last})).status_code == 200
    assert turns.requests[-1].messages[-1].content == "second question"


async def test_a_refused_regeneration_keeps_the_old_answer(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = answering("first")
    await say(page, cid, "question")
    turns.script = lambda _: [RateLimitedError(retry_after=1)]
    assert (await page.post(f"/chat/{cid}/turns", json={"regenerate": True})).status_code == 429
    assert "first" in (await page.get(f"/c/{cid}")).text


async def test_nothing_can_be_regenerated_in_an_empty_conversation(page: AsyncTestClient, conversation: Make):
    cid = await conversation()
    assert (await page.post(f"/chat/{cid}/turns", json={"regenerate": True})).status_code == 409
