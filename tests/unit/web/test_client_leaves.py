import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from gateway.identifiers import uuid7
from gateway.turn_events import TextReleased
from tests.unit.web.scripted import ScriptedTurns, answering, completed, say, started

Make = Callable[..., Awaitable[str]]


class Browser:
    """An ASGI client that can leave in the middle of a response."""

    def __init__(self, app: Any, path: str, body: dict[str, object]) -> None:
        self.app, self.body = app, json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"host", b"test"), (b"x-test-person", b"alice")]
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 1), "server": ("test", 80), "extensions": {},
        }  # fmt: skip
        self.gone, self.sent, self.received = asyncio.Event(), False, b""
        self.awaited, self.came = b"", asyncio.Event()
        self.stuck = False

    async def receive(self) -> dict[str, object]:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.received += message.get("body", b"")
        if self.awaited and self.awaited in self.received:
            self.came.set()
        if self.stuck and b"released" in self.received:
            await asyncio.sleep(60)

    async def leave_after(self, word: bytes) -> None:
        self.awaited = word
        running = asyncio.create_task(self.app(self.scope, self.receive, self.send))
        await asyncio.wait_for(self.came.wait(), 5)
        self.gone.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(running, 5)


@pytest.mark.parametrize("stuck", [False, True], ids=["waiting for text", "in the middle of sending"])
async def test_a_client_that_leaves_ends_the_turn_and_loses_nothing(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns, *, stuck: bool
):
    cid = await conversation()
    turns.script = lambda _: [started(t := uuid7()), TextReleased("Half an answer"), 60.0, completed(t)]
    browser = Browser(page.app, f"/chat/{cid}/turns", {"text": "hi"})
    browser.stuck = stuck
    began = time.monotonic()
    await browser.leave_after(b"Half")
    assert time.monotonic() - began < 5
    assert turns.closed_early == 1
    shown = (await page.get(f"/c/{cid}")).text
    assert "<p>Half an answer</p>" in shown
    assert "Stopped" in shown
    turns.script = answering("ok")
    await say(page, cid, "go on")
    assert [m.content for m in turns.requests[-1].messages] == ["hi", "Half an answer", "go on"]


async def test_a_client_that_leaves_before_the_first_event_leaves_nothing_running(
    page: AsyncTestClient, conversation: Make, turns: ScriptedTurns
):
    cid = await conversation()
    turns.script = lambda _: [0.2, started(uuid7()), 60.0]
    browser = Browser(page.app, f"/chat/{cid}/turns", {"text": "hi"})
    browser.gone.set()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(browser.app(browser.scope, browser.receive, browser.send), 5)
    assert turns.closed_early == 1
