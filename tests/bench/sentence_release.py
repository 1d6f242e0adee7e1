"""How long a complete sentence waits for its release: a model that speaks slowly, and the moment its words are shown.

The model is a server in this very process, so both ends read one clock. Its sentences come word by word; the clock
starts with the delta by which the first sentence is known to be complete: the first of the next sentence, for 'e.g.'
looks like an end too.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import web

from tests.bench.client import Connection, Target
from tests.bench.texts import deltas, sentences

WORD_S = 0.005
PAUSE_S = 0.15
"""Pause of the model in the middle of its second sentence: long enough for a release to have no company."""


@dataclass
class SlowModel:
    """An OpenAI-compatible server that notes when it has sent its first whole sentence."""

    complete_at: float = 0.0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(500_000))

    def application(self) -> web.Application:
        """Routes of the server."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "bench-en"}, {"id": "bench-zh"}]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        lang = "zh" if "bench-zh" in await request.text() else "en"
        first, *rest = (deltas(text, 2 if lang == "zh" else 6) for text in sentences(lang, next(self.numbers)))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for word in first:
            await response.write(_chunk(word))
            await asyncio.sleep(WORD_S)
        self.complete_at = time.monotonic()
        await response.write(_chunk(rest[0][0]))
        await asyncio.sleep(PAUSE_S)
        for word in itertools.chain(rest[0][1:], *rest[1:]):
            await response.write(_chunk(word))
        await response.write(_chunk("", "stop") + b"data: [DONE]\n\n")
        return response


def _chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


async def serve(model: SlowModel, port: int) -> web.AppRunner:
    """Start the server; the caller cleans it up."""
    runner = web.AppRunner(model.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def measure(model: SlowModel, target: Target, turns: int) -> list[float]:
    """Seconds from complete to shown, one for each turn; a turn that showed nothing is left out."""
    connection, waits = Connection(target), []
    for number in range(turns):
        answer = await connection.ask(target.request(600_000 + number))
        if answer.status == 200 and not answer.blocked and answer.first_at > model.complete_at:
            waits.append(answer.first_at - model.complete_at)
    await connection.close()
    return waits
