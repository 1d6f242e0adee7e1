"""What the engine before a vLLM server keeps to, whatever that server does; its answers are in the server contract."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from inference.cli import DEMO
from inference.engine import vllm_answer
from inference.engine.vllm_engine import Upstream, VllmEngine
from inference.ports import ChatRequest, CompletionRequest, InferenceError, Message, Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def listening(port: int = 0, **handlers: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.route("*", f"/{path.replace('__', '/')}", handler) for path, handler in handlers.items()])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=512).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def engine_of(url: str) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(Upstream(f"{url}/v1", "model", "key"), DEMO)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def asked(engine: VllmEngine) -> ChatRequest:
    return ChatRequest(engine.info.name, (Message(Role.USER, "hi"),), max_tokens=100)


async def well(_: web.Request) -> web.StreamResponse:
    return web.Response()


async def test_more_streams_than_a_pool_holds_hide_nothing_of_vllms_health() -> None:
    begun = 0

    async def completions(request: web.Request) -> web.StreamResponse:
        nonlocal begun
        await request.read()
        begun += 1
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(3600)
        return response

    async with listening(v1__completions=completions, health=well) as url, engine_of(url) as engine:

        async def read() -> None:
            async for _ in engine.stream(asked(engine)):
                pass

        streams = [asyncio.create_task(read()) for _ in range(130)]
        async with asyncio.timeout(20):
            while begun < len(streams):  # noqa: ASYNC110 - counted by the server
                await asyncio.sleep(0.02)
        await engine._look()
        assert engine.load().ready
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def test_a_prompt_goes_nowhere_else() -> None:
    stolen: list[bytes] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        stolen.append(await request.read())
        return web.Response()

    async with listening(stolen=elsewhere) as other:

        async def redirect(_: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"{other}/stolen")

        async with listening(v1__completions=redirect, health=well) as url, engine_of(url) as engine:
            with pytest.raises(InferenceError):
                async for _ in engine.stream(asked(engine)):
                    pass
        async with listening(v1__completions=well, health=redirect) as url, engine_of(url) as engine:
            assert not engine.load().ready
    assert stolen == []


def event(*ids: int, **fields: object) -> bytes:
    choice = {"index": 0, "text": "", "token_ids": list(ids), "finish_reason": None} | fields
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize("noise", [event(), b": still here\n" * 40, b"\n" * 500, b"x" * 4000])
async def test_an_answer_without_end_is_broken_off(noise: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_answer, "_EVENT_BYTES", 50_000)
    sent = 0

    async def completions(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 10_000_000:
                await response.write(noise)
                sent += len(noise)
        return response

    async with listening(v1__completions=completions, health=well) as url, engine_of(url) as engine:
        with pytest.raises(InferenceError, match="EventTooLargeError"):
            async for _ in engine.stream(asked(engine)):
                pass
    assert sent < 10_000_000


async def test_the_ids_of_a_long_prompt_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_answer, "_EVENT_BYTES", 500)
    prompt = tuple(range(1000, 2000))

    async def completions(_: web.Request) -> web.StreamResponse:
        return web.Response(body=event(300, prompt_token_ids=prompt) + event(301, finish_reason="length"))

    async with listening(v1__completions=completions, health=well) as url, engine_of(url) as engine:
        given = CompletionRequest(engine.info.name, prompt, max_tokens=8, ignore_eos=True, token_ids=True)
        assert [token async for delta in engine.complete(given) for token in delta.token_ids] == [300, 301]
