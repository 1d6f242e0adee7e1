"""The inference tier's HTTP face: OpenAI's chat completions and completions over one engine."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.response import Stream

from inference import completions, wire
from inference.chat import ChatShape
from inference.connection import ClientGoneError, StalledClients, read_body, unless_gone
from inference.engine.base import Engine
from inference.engines import Engines, load_of
from inference.errors import RequestRefusedError
from inference.exchange import Exchange, Shape, collect, stream
from inference.ports import ChatRequest, CompletionRequest, Delta, InferenceError, ModelInfo
from inference.refusals import http_refusal, inference_refusal, refusal
from inference.requests import BODY_LIMIT, parse
from inference.telemetry import Telemetry
from inference.tracing import Tracing, trace_id

LOG = logging.getLogger("attest.inference")

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

_encode = msgspec.json.Encoder().encode

Asked = TypeVar("Asked", ChatRequest, CompletionRequest)


@post("/v1/chat/completions", status_code=200, request_max_body_size=BODY_LIMIT)
async def chat_completions(request: Request[None, None, State]) -> Response[bytes] | Stream:
    """Answer a dialogue, streamed or not."""
    parsed = parse(await read_body(request))
    engine: Engine = request.app.state.engines.find(parsed.chat.model)
    exchange = _exchange(request, engine, "chat", "chatcmpl")
    deltas = engine.stream(_own(parsed.chat, engine), exchange.span.headers)
    return await _answer(
        request, exchange, ChatShape(exchange), deltas, streamed=parsed.stream, include_usage=parsed.include_usage
    )


@post("/v1/completions", status_code=200, request_max_body_size=BODY_LIMIT)
async def text_completions(request: Request[None, None, State]) -> Response[bytes] | Stream:
    """Continue a text or token ids, streamed or not."""
    parsed = completions.parse(await read_body(request))
    engine: Engine = request.app.state.engines.find(parsed.completion.model)
    exchange = _exchange(request, engine, "text_completion", "cmpl")
    deltas = engine.complete(_own(parsed.completion, engine), exchange.span.headers)
    shape = completions.CompletionShape(exchange, token_ids=parsed.completion.token_ids)
    return await _answer(request, exchange, shape, deltas, streamed=parsed.stream, include_usage=parsed.include_usage)


async def _answer(
    request: Request[None, None, State],
    exchange: Exchange,
    shape: Shape,
    deltas: AsyncGenerator[Delta, None],
    *,
    streamed: bool,
    include_usage: bool,
) -> Response[bytes] | Stream:
    if not streamed:
        found = await unless_gone(request, collect(exchange, deltas))
        return Response(content=_encode(shape.whole(found)), media_type=MediaType.JSON)
    # Waiting for the first stretch here gives refusals their HTTP status instead of an event in a stream.
    try:
        first = await unless_gone(request, anext(deltas))
    except (InferenceError, ClientGoneError) as error:
        exchange.ended("refused" if isinstance(error, InferenceError) else "broken off", Delta(), streamed=True)
        raise
    exchange.begun()
    body = stream(exchange, shape, first, deltas, include_usage=include_usage)
    return Stream(body, media_type="text/event-stream", headers=_SSE_HEADERS)


def _own(asked: Asked, engine: Engine) -> Asked:
    """Return a request under the engine's own name where it was found under the name of all versions."""
    versioned = "@" in engine.info.name
    return msgspec.structs.replace(asked, model=engine.info.name) if versioned else asked


def _exchange(request: Request[None, None, State], engine: Engine, operation: str, prefix: str) -> Exchange:
    state = request.app.state
    info = engine.info
    span = state.tracing.begin(operation, info, request.headers)
    return Exchange(info=info, telemetry=state.telemetry, span=span, operation=operation, prefix=prefix)


@get("/v1/models")
async def models(request: Request[None, None, State]) -> Response[bytes]:
    """Name the models that are served, with the exact identity of their weights."""
    found: tuple[ModelInfo, ...] = await request.app.state.engines.models()
    body = wire.WireModels(data=tuple(_listed(model) for model in found))
    return Response(content=_encode(body), media_type=MediaType.JSON)


@get("/health")
async def health(request: Request[None, None, State]) -> Response[bytes]:
    """Say whether a request would be answered, and how busy the engine is."""
    load = load_of(request.app.state.engines)
    return Response(content=_encode(load), media_type=MediaType.JSON, status_code=200 if load.ready else 503)


@get("/metrics", media_type=_METRICS_TYPE)
async def metrics(request: Request[None, None, State]) -> bytes:
    """Return every figure in Prometheus' text format."""
    # In a thread: opening a GPU's driver may take seconds.
    rendered: bytes = await asyncio.to_thread(request.app.state.telemetry.render)
    return rendered


def create_app(engines: Engines, *, started: bool = False) -> Litestar:
    """Return the application; the engines are closed with it, and started with it unless they are already."""
    tracing = Tracing(os.environ)
    telemetry = Telemetry(engines)

    @asynccontextmanager
    async def life(_: Litestar) -> AsyncGenerator[None, None]:
        if not started:
            await engines.start()
        try:
            yield
        finally:
            await engines.close()
            await asyncio.to_thread(tracing.close)

    return Litestar(
        route_handlers=[chat_completions, text_completions, models, health, metrics],
        lifespan=[life],
        middleware=[StalledClients],
        state=State({"engines": engines, "telemetry": telemetry, "tracing": tracing}),
        exception_handlers={
            InferenceError: _inference_error,
            HTTPException: _http_error,
            ClientGoneError: _client_gone,
            Exception: _unforeseen,
        },
        openapi_config=None,
        logging_config=None,
    )


def _listed(model: ModelInfo) -> wire.WireModel:
    version: wire.WireVersion | msgspec.UnsetType = msgspec.UNSET
    if model.model:
        version = wire.WireVersion(model.model, model.stage, model.percent, model.groups)
    return wire.WireModel(
        id=model.name,
        revision=model.revision,
        stops_words=model.stops_words,
        max_model_len=model.context,
        attest=version,
    )


def _inference_error(request: Request[None, None, State], error: InferenceError) -> Response[bytes]:
    response = inference_refusal(error)
    code = error.code if isinstance(error, RequestRefusedError) else type(error).__name__
    request.app.state.telemetry.refused(code)
    LOG.info("refused", extra={"status": response.status_code, "code": code, "trace_id": trace_id(request.headers)})
    return response


def _http_error(_: Request[None, None, State], error: HTTPException) -> Response[bytes]:
    return http_refusal(error.status_code, error.headers)


def _client_gone(_: Request[None, None, State], __: ClientGoneError) -> Response[bytes]:
    LOG.info("client gone")
    return Response(content=b"", status_code=499)


def _unforeseen(request: Request[None, None, State], error: Exception) -> Response[bytes]:
    LOG.error("failed", extra={"status": 500, "trace_id": trace_id(request.headers)}, exc_info=error)
    return refusal(error, 500)
