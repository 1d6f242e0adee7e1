"""What the engine before a vLLM server keeps to, whatever that server does; its answers are in the server contract."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from inference.cli import DEMO
from inference.engine import vllm_answer
from inference.engine.base import ModelFolderError
from inference.engine.vllm_engine import Upstream, VllmEngine
from inference.ports import ChatRequest, CompletionRequest, InferenceError, Message, Role
from tests.unit.inference import tiny

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


@pytest.mark.parametrize(
    ("shards", "stray", "refused"),
    [
        (1, "x.safetensors", True),
        (1, "pytorch_model.bin", False),
        (2, "x.safetensors", False),
        (2, "x.bin", False),
        (2, "consolidated.safetensors", True),
    ],
)
def test_weights_that_vllm_would_read_beside_those_of_the_revision_are_refused(
    tmp_path: Path, shards: int, stray: str, refused: bool
) -> None:
    folder = tiny.build(tmp_path / "model", shards=shards)
    where = Upstream("http://127.0.0.1:1/v1", "model")
    revision = VllmEngine(where, folder).info.revision
    (folder / stray).write_bytes(b"other weights")
    if refused:
        with pytest.raises(ModelFolderError, match=rf"{stray} would be read by vLLM: the weights are "):
            VllmEngine(where, folder)
    else:
        assert VllmEngine(where, folder).info.revision == revision


@pytest.mark.parametrize("stray", ["x.safetensors", "x.bin"])
def test_a_folder_of_bin_has_no_other_weights_for_vllm(tmp_path: Path, stray: str) -> None:
    folder = tiny.build(tmp_path / "model", shards=1)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / stray).write_bytes(b"other weights")
    with pytest.raises(ModelFolderError, match=rf"{stray} would be read by vLLM: the weights are pytorch_model\.bin"):
        VllmEngine(Upstream("http://127.0.0.1:1/v1", "model"), folder)


def test_what_a_training_left_beside_a_bin_is_no_weights_for_vllm(tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "model", shards=1)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for name in ("training_args.bin", "optimizer.bin"):
        (folder / name).write_bytes(b"arguments")
    VllmEngine(Upstream("http://127.0.0.1:1/v1", "model"), folder)


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
