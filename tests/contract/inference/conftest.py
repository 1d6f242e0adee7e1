"""Every `ChatModel`: engines in this process, and the client over a real server on a socket."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
import uvicorn
from aiohttp import web

from inference.chatglm3.loader import Checkpoint, load
from inference.engine.scripted import Call, Reply, Script, ScriptedEngine
from inference.engine.torch_engine import Limits, TorchEngine
from inference.engine.vllm_engine import Upstream, VllmEngine
from inference.engines import OneEngine
from inference.openai_compat import OpenAICompatModel
from inference.ports import CompletionRequest
from inference.quant.offline import quantise
from inference.server import create_app
from tests.rig.ports import free_port
from tests.unit.inference import tiny

CONTEXT = 1024
SCRIPT = Script(
    model="tiny",
    context=CONTEXT,
    default=Reply(text="你好 the answer has some sixty characters, in stretches of three.", chunk=3, delay_ms=5),
    rules=(Reply(contains="weather", text="Let me see.", calls=(Call("get_weather", {"city": "上海", "days": 2}),)),),
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder: Path = tiny.build(tmp_path_factory.mktemp("models") / "tiny", context=CONTEXT)
    return load(folder, "float32")


@pytest.fixture(scope="session")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """The same model in eight and in four bits."""
    folder = tmp_path_factory.mktemp("models")
    tiny.build(folder / "tiny", context=CONTEXT)
    for bits in (8, 4):
        quantise(folder / "tiny", folder / f"int{bits}", bits)
    return {f"int{bits}": load(folder / f"int{bits}", "float32") for bits in (8, 4)}


@contextlib.asynccontextmanager
async def serving(engine):
    port = free_port()
    config = uvicorn.Config(create_app(OneEngine(engine)), port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def vllm_server(engine, seen: list[dict[str, str]] | None = None):
    """Run a server that speaks as vLLM does with `--skip-tokenizer-init`, over an engine of ours.

    The headers of each request are added to `seen`.
    """

    async def completions(request: web.Request) -> web.StreamResponse:
        if seen is not None:
            seen.append({name.lower(): value for name, value in request.headers.items()})
        body = await request.json()
        assert body["model"] == "model"
        assert (body["detokenize"], body["return_token_ids"], body["stream"]) == (False, True, True)
        asked = CompletionRequest(
            model="tiny", prompt=tuple(body["prompt"]), max_tokens=body["max_tokens"], temperature=body["temperature"],
            top_p=body["top_p"], seed=body.get("seed"), ignore_eos=body["ignore_eos"], token_ids=True,
        )  # fmt: skip
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with contextlib.aclosing(engine.complete(asked)) as deltas:
            async for delta in deltas:
                choice = {"index": 0, "text": "", "logprobs": None, "token_ids": list(delta.token_ids)}
                choice |= {"finish_reason": delta.finish_reason, "stop_reason": None}
                chunk = {"id": "cmpl-1", "object": "text_completion", "model": "model", "choices": [choice]}
                await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/v1/completions", completions), web.get("/health", health)])
    await engine.start()
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()
        await engine.close()


@pytest.fixture(params=["scripted", "torch", "int8", "int4", "vllm", "client over scripted", "client over torch"])
async def chat_model(request, checkpoint, quantised, tmp_path_factory):
    """Yield a model, and the engine behind it for a look at its load."""
    if request.param.endswith("scripted"):
        engine = ScriptedEngine(SCRIPT)
    else:
        engine = TorchEngine(quantised.get(request.param, checkpoint), "tiny", Limits(places=2, queue=2))
    if request.param.startswith("client"):
        async with serving(engine) as url:
            client = OpenAICompatModel(url)
            yield client, engine
            await client.close()
    elif request.param == "vllm":
        folder = tiny.build(tmp_path_factory.mktemp("vllm") / "tiny", context=CONTEXT)
        async with vllm_server(engine) as url:
            over = VllmEngine(Upstream(url, "model"), folder)
            await over.start()
            yield over, over
            await over.close()
    else:
        await engine.start()
        yield engine, engine
        await engine.close()
