from collections.abc import Awaitable, Callable

import pytest
from litestar.testing import AsyncTestClient

from audit.record import LONGEST_AGENT, Kind
from tests.unit.web.scripted import MemoryAudit, ScriptedTurns, events, say

Make = Callable[..., Awaitable[str]]


async def test_feedback_is_on_record_first(
    page: AsyncTestClient, conversation: Make, audit: MemoryAudit, turns: ScriptedTurns
):
    cid = await conversation()
    message_id = events((await say(page, cid)).text)[-1][1]["message_id"]
    path = f"/chat/messages/{message_id}/feedback"
    audit.down = True
    assert (await page.post(path, json={"rating": 1})).status_code == 503
    assert 'data-rating="1" aria-pressed="false"' in (await page.get(f"/chat/messages/{message_id}")).text
    audit.down = False
    body, headers = {"rating": -1, "comment": "wrong date"}, {"user-agent": "U" * 10_000}
    assert (await page.post(path, json=body, headers=headers)).status_code == 204
    (entry,) = audit.entries
    assert entry.user_agent == "U" * LONGEST_AGENT
    assert (entry.kind, entry.detail, entry.subject) == (Kind.FEEDBACK_GIVEN, {"rating": -1}, "alice")
    assert [(c.name, c.text) for c in entry.contents] == [("comment", "wrong date")]
    assert entry.conversation_id == cid
    assert entry.turn_id
    shown = (await page.get(f"/chat/messages/{message_id}")).text
    assert 'data-rating="-1" aria-pressed="true"' in shown
    assert "wrong date" in shown


@pytest.mark.parametrize(
    "body", [{}, {"rating": 0}, {"rating": 2}, {"rating": 1, "comment": "x" * 2001}, {"rating": 1, "a": 1}]
)
async def test_bad_feedback_is_refused(page: AsyncTestClient, conversation: Make, audit: MemoryAudit, body: object):
    cid = await conversation()
    message_id = events((await say(page, cid)).text)[-1][1]["message_id"]
    assert (await page.post(f"/chat/messages/{message_id}/feedback", json=body)).status_code == 400
    assert audit.entries == []


async def test_a_users_own_message_cannot_be_rated(page: AsyncTestClient, conversation: Make):
    cid = await conversation()
    user_message = events((await say(page, cid)).text)[0][1]["user_message_id"]
    assert (await page.post(f"/chat/messages/{user_message}/feedback", json={"rating": 1})).status_code == 404
