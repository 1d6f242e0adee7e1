"""The inference tier's HTTP face: OpenAI's chat completions over one engine."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, InternalServerException
from litestar.response import Stream

from inference import wire
from inference.engine.base import Engine
from inference.errors import RequestRefusedError
from inference.ports import Delta, FinishReason, InferenceError, Usage
from inference.requests import BODY_LIMIT, parse

BODY_WAIT_S = 30.0
"""Longest wait for a request's body."""

T = TypeVar("T")
LOG = logging.getLogger("attest.inference")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = "0" * 32
_DONE = b"data: [DONE]\n\n"
_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

_encode = msgspec.json.Encoder().encode


@dataclass
class Exchange:
    """One request on its way through the server: what a log line and each chunk need to know."""

    engine: Engine
    trace_id: str | None
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    started: float = field(default_factory=time.monotonic)
    created: int = field(default_factory=lambda: int(time.time()))
    first_s: float | None = None

    def chunk(self, delta: wire.WireDelta, finish: FinishReason | None = None) -> bytes:
        """Return one event of a streamed answer."""
        return self._event((wire.ChunkChoice(delta=delta, finish_reason=finish),), None)

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the event with the token counts, which has no choices."""
        return self._event((), _usage(usage))

    def answer(self, text: str, finish: FinishReason, usage: Usage) -> wire.Answer:
        """Return the whole answer."""
        info = self.engine.info
        choice = wire.AnswerChoice(message=wire.AnswerMessage(content=text), finish_reason=finish)
        return wire.Answer(
            id=self.id,
            created=self.created,
            model=info.name,
            choices=(choice,),
            usage=_usage(usage),
            system_fingerprint=info.revision,
        )

    def log(self, outcome: str, *, streamed: bool, usage: Usage | None = None, finish: str | None = None) -> None:
        """Write the one line that each request leaves."""
        LOG.info(
            outcome,
            extra={
                "request_id": self.id,
                "trace_id": self.trace_id,
                "model": self.engine.info.name,
                "finish_reason": finish,
                "prompt_tokens": usage.prompt_tokens if usage else None,
                "completion_tokens": usage.completion_tokens if usage else None,
                "first_ms": round(self.first_s * 1000, 1) if self.first_s is not None else None,
                "duration_ms": round((time.monotonic() - self.started) * 1000, 1),
                "streamed": streamed,
            },
        )

    def _event(self, choices: tuple[wire.ChunkChoice, ...], usage: wire.WireUsage | None) -> bytes:
        info = self.engine.info
        chunk = wire.Chunk(
            id=self.id,
            created=self.created,
            model=info.name,
            choices=choices,
            system_fingerprint=info.revision,
            usage=usage,
        )
        return b"data: " + _encode(chunk) + b"\n\n"


@post("/v1/chat/completions", status_code=200, request_max_body_size=BODY_LIMIT)
async def chat_completions(request: Request[None, None, State]) -> Response[bytes] | Stream:
    """Answer a dialogue, streamed or not."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestRefusedError("Send application/json.", code="unsupported_media_type", status=415)
    parsed = parse(await _body(request))
    exchange = Exchange(engine=request.app.state.engine, trace_id=_trace_id(request))
    deltas = exchange.engine.stream(parsed.chat)
    if not parsed.stream:
        text, finish, usage = await _unless_gone(request, _collect(exchange, deltas))
        exchange.log("answered", streamed=False, usage=usage, finish=finish)
        return Response(content=_encode(exchange.answer(text, finish, usage)), media_type=MediaType.JSON)
    # Waiting for the first stretch here gives refusals their HTTP status instead of an event in a stream.
    first = await _unless_gone(request, anext(deltas))
    exchange.first_s = time.monotonic() - exchange.started
    body = _events(exchange, first, deltas, include_usage=parsed.include_usage)
    return Stream(body, media_type="text/event-stream", headers=_SSE_HEADERS)


@get("/v1/models")
async def models(request: Request[None, None, State]) -> Response[bytes]:
    """Name the model that is served, with the exact identity of its weights."""
    found = await request.app.state.engine.models()
    body = wire.WireModels(data=tuple(wire.WireModel(id=model.name, revision=model.revision) for model in found))
    return Response(content=_encode(body), media_type=MediaType.JSON)


@get("/health")
async def health(request: Request[None, None, State]) -> Response[bytes]:
    """Say whether a request would be answered, and how busy the engine is."""
    load = request.app.state.engine.load()
    return Response(content=_encode(load), media_type=MediaType.JSON, status_code=200 if load.ready else 503)


def create_app(engine: Engine) -> Litestar:
    """Return the application; the engine is started and closed with it."""

    @asynccontextmanager
    async def life(_: Litestar) -> AsyncGenerator[None, None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.close()

    return Litestar(
        route_handlers=[chat_completions, models, health],
        lifespan=[life],
        state=State({"engine": engine}),
        exception_handlers={
            InferenceError: _inference_error,
            HTTPException: _http_error,
            _ClientGoneError: _client_gone,
            Exception: _unforeseen,
        },
        openapi_config=None,
        logging_config=None,
    )


async def _events(
    exchange: Exchange, first: Delta, rest: AsyncGenerator[Delta, None], *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    outcome, last = "broken off", first
    try:
        async with aclosing(rest):
            yield exchange.chunk(wire.WireDelta(role="assistant", content="")) + _text_event(exchange, first)
            while last.finish_reason is None:
                last = await anext(rest)
                if event := _text_event(exchange, last):
                    yield event
        end = exchange.chunk(wire.WireDelta(), last.finish_reason)
        if include_usage and last.usage is not None:
            end += exchange.usage_chunk(last.usage)
        outcome = "answered"
        yield end + _DONE
    except (InferenceError, StopAsyncIteration) as error:
        outcome = "failed"
        yield b"data: " + _encode(_error_body(error)) + b"\n\n"
    finally:
        exchange.log(outcome, streamed=True, usage=last.usage, finish=last.finish_reason)


def _text_event(exchange: Exchange, delta: Delta) -> bytes:
    return exchange.chunk(wire.WireDelta(content=delta.text)) if delta.text else b""


async def _collect(exchange: Exchange, deltas: AsyncGenerator[Delta, None]) -> tuple[str, FinishReason, Usage]:
    parts: list[str] = []
    async with aclosing(deltas):
        async for delta in deltas:
            if exchange.first_s is None:
                exchange.first_s = time.monotonic() - exchange.started
            parts.append(delta.text)
            if delta.finish_reason is not None:
                return "".join(parts), delta.finish_reason, delta.usage or Usage()
    raise InferenceError("The engine ended the answer before its end.")


class _ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def _unless_gone(request: Request[None, None, State], work: Coroutine[Any, Any, T]) -> T:
    """Do the work, but give it up when the client goes, so that nobody's answer holds a place in the batch."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _ClientGoneError
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request[None, None, State]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request[None, None, State]) -> bytes:
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            return await request.body()
    except TimeoutError:
        raise RequestRefusedError("The body did not arrive in time.", code="timeout", status=408) from None
    except InternalServerException:
        raise _ClientGoneError from None  # so Litestar calls a client that goes while it sends


def _trace_id(request: Request[None, None, State]) -> str | None:
    """Trace id of a W3C `traceparent`; anything else is ignored, as the recommendation says."""
    match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return match[1] if match and match[1] != _NO_TRACE else None


def _usage(usage: Usage) -> wire.WireUsage:
    return wire.WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _error_body(error: Exception) -> wire.WireErrorBody:
    if isinstance(error, RequestRefusedError):
        found = wire.WireError(str(error), "invalid_request_error", error.param, error.code)
    elif isinstance(error, InferenceError):
        found = wire.WireError(str(error), "server_error", None, "overloaded" if error.retry_after else "failed")
    else:
        found = wire.WireError("Something failed on our side.", "server_error", None, "internal")
    return wire.WireErrorBody(found)


def _refusal(error: Exception, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(
        content=_encode(_error_body(error)), status_code=status, media_type=MediaType.JSON, headers=headers or {}
    )


def _inference_error(request: Request[None, None, State], error: InferenceError) -> Response[bytes]:
    status = error.status if isinstance(error, RequestRefusedError) else 503
    code = error.code if isinstance(error, RequestRefusedError) else type(error).__name__
    LOG.info("refused", extra={"status": status, "code": code, "trace_id": _trace_id(request)})
    return _refusal(error, status, {"Retry-After": str(error.retry_after)} if error.retry_after else None)


def _http_error(_: Request[None, None, State], error: HTTPException) -> Response[bytes]:
    known = {404: "There is no such address.", 405: "The address does not take this method.", 413: "Body too large."}
    said = known.get(error.status_code, "The request cannot be understood.")
    return _refusal(RequestRefusedError(said, code="bad_request"), error.status_code, error.headers)


def _client_gone(_: Request[None, None, State], __: _ClientGoneError) -> Response[bytes]:
    LOG.info("client gone")
    return Response(content=b"", status_code=499)


def _unforeseen(request: Request[None, None, State], error: Exception) -> Response[bytes]:
    LOG.error("failed", extra={"status": 500, "trace_id": _trace_id(request)}, exc_info=error)
    return _refusal(error, 500)
