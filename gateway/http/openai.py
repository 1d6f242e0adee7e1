"""`/v1`: the OpenAI-compatible surface. Thin: it turns bodies into a `TurnRequest` and events into chunks."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, SkipValidation
from litestar.response.base import ASGIResponse

from gateway.auth.access import open_to
from gateway.auth.principal import Principal, Role
from gateway.http.connection import CLIENT_GONE, ClientGoneError, while_connected
from gateway.http.openai_types import (
    AnswerMessage,
    AttestInfo,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChunkChoice,
    ChunkDelta,
    ModelCard,
    ModelList,
    TokenUsage,
)
from gateway.http.sse import data as sse_data
from gateway.http.sse import with_heartbeat
from gateway.models import ModelCatalogue
from gateway.problem_documents import openai_error
from gateway.problems import (
    AccessEndedError,
    AttestError,
    AuditUnavailableProblemError,
    ContextTooLongError,
    InferenceUnavailableError,
)
from gateway.settings import Settings
from gateway.turn import TurnService
from gateway.turn_events import Outcome, Surface, TextReleased, TurnEnded, TurnEvent, TurnRequest, TurnStarted
from gateway.web.stream_response import EventStreamResponse

REFUSAL = "Attest blocked this turn by policy. 该轮对话已被策略拦截。"
DEFAULT_MAX_TOKENS = 1024
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ChatParts:
    """What a turn of the API needs, as one dependency: for several, Litestar makes a task group at each request."""

    turns: TurnService
    catalogue: ModelCatalogue
    settings: Settings


@get("/v1/models", **open_to(Role.STAFF), tags=["chat"])
async def list_models(
    request: Request[Any, Any, Any], catalogue: NamedDependency[SkipValidation[ModelCatalogue]]
) -> ModelList:
    """List the models on offer that the caller may ask."""
    principal: Principal = request.user
    return ModelList(data=[ModelCard(id=name) for name in await catalogue.offers() if principal.may_ask(name)])


@post(
    "/v1/chat/completions",
    **open_to(Role.STAFF),
    tags=["chat"],
    status_code=200,
    responses={200: ResponseSpec(ChatCompletion, generate_examples=False, description="The answer, or its refusal")},
)
async def chat_completions(
    request: Request[Any, Any, Any],
    data: JSONBody[ChatCompletionRequest],
    chat: NamedDependency[SkipValidation[ChatParts]],
) -> ASGIResponse:
    """Answer a dialogue under full control, streamed or not.

    A blocked turn answers 200 with `finish_reason: "content_filter"`; `attest` names turn, reason, categories, rules.
    """
    turn = _turn_request(request, data, await chat.catalogue.resolve(data.model or ""), chat.settings)
    events = chat.turns.run(turn)
    try:
        if not data.stream:
            answer = await while_connected(request.receive, _whole(events, turn.model))
            return ASGIResponse(body=_encode(answer), media_type="application/json")
        # Nothing is sent before there is something to show: a model that is down can still be answered with 503.
        turn_id, opening = await while_connected(request.receive, _opening(events))
    except ClientGoneError:
        await events.aclose()
        return ASGIResponse(status_code=CLIENT_GONE)
    include_usage = data.stream_options is not None and bool(data.stream_options.include_usage)
    chunks = with_heartbeat(_chunks(turn_id, opening, events, turn.model, include_usage=include_usage))
    return EventStreamResponse(chunks, events.aclose)


def _turn_request(
    request: Request[Any, Any, Any], body: ChatCompletionRequest, model: str, settings: Settings
) -> TurnRequest:
    return TurnRequest(
        principal=request.user,
        surface=Surface.API,
        streamed=bool(body.stream),
        messages=body.dialogue(settings),
        model=model,
        max_tokens=body.max_completion_tokens or body.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=0.7 if body.temperature is None else body.temperature,
        top_p=0.9 if body.top_p is None else body.top_p,
        stop=body.stops(),
        seed=body.seed,
        source_ip=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", ""),
    )


async def _whole(events: AsyncGenerator[TurnEvent, None], model: str) -> ChatCompletion:
    texts: list[str] = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextReleased):
                texts.append(event.text)
            elif isinstance(event, TurnEnded):
                _raise_if_aborted(event)
                return _completion(event, "".join(texts), model)
    raise AttestError


async def _opening(events: AsyncGenerator[TurnEvent, None]) -> tuple[str, TurnEvent]:
    """Return the turn's id and the first event after its start."""
    turn_id = ""
    async for event in events:
        if isinstance(event, TurnStarted):
            turn_id = event.turn_id
            continue
        if isinstance(event, TurnEnded):
            _raise_if_aborted(event)
            turn_id = event.turn_id
        return turn_id, event
    raise AttestError


async def _chunks(
    turn_id: str, opening: TurnEvent, events: AsyncGenerator[TurnEvent, None], model: str, *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    created, answer_id = int(time.time()), f"chatcmpl-{turn_id}"

    def chunk(delta: ChunkDelta, **fields: Any) -> bytes:
        choice = ChunkChoice(delta=delta, finish_reason=fields.pop("finish_reason", None))
        body = ChatCompletionChunk(id=answer_id, created=created, model=model, choices=[choice], **fields)
        return sse_data(_encode(body))

    async with aclosing(events):
        yield chunk(ChunkDelta(role="assistant", content=""))
        event: TurnEvent | None = opening
        while event is not None:
            if isinstance(event, TextReleased):
                yield chunk(ChunkDelta(content=event.text))
            elif isinstance(event, TurnEnded):
                if event.outcome is Outcome.ABORTED:
                    yield sse_data(_encode(openai_error(_aborted(event))))
                else:
                    refusal = REFUSAL if event.outcome is Outcome.BLOCKED else None
                    delta = ChunkDelta(refusal=refusal)
                    yield chunk(delta, finish_reason=event.finish_reason, attest=_info(event))
                    if include_usage:
                        body = ChatCompletionChunk(
                            id=answer_id, created=created, model=model, choices=[], usage=_usage(event)
                        )
                        yield sse_data(_encode(body))
            event = await anext(events, None)
        yield sse_data(b"[DONE]")


def _completion(event: TurnEnded, text: str, model: str) -> ChatCompletion:
    refusal = REFUSAL if event.outcome is Outcome.BLOCKED else None
    return ChatCompletion(
        id=f"chatcmpl-{event.turn_id}",
        created=int(time.time()),
        model=model,
        choices=[Choice(message=AnswerMessage(content=text, refusal=refusal), finish_reason=event.finish_reason)],
        usage=_usage(event),
        attest=_info(event),
    )


def _usage(event: TurnEnded) -> TokenUsage:
    prompt, completion = event.usage.prompt_tokens, event.usage.completion_tokens
    return TokenUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def _info(event: TurnEnded) -> AttestInfo:
    return AttestInfo(
        turn_id=event.turn_id,
        outcome=event.outcome.value,
        reason=event.reason,
        categories=event.categories,
        rules=event.rules,
        redacted=event.redacted,
        left_out=event.left_out,
        budget=event.budget,
    )


def _raise_if_aborted(event: TurnEnded) -> None:
    if event.outcome is Outcome.ABORTED:
        raise _aborted(event)


def _aborted(event: TurnEnded) -> AttestError:
    if event.reason in ("model_failed", "model_changed"):
        return InferenceUnavailableError(retry_after=5, turn_id=event.turn_id)
    if event.reason == "context_too_long":
        return ContextTooLongError(turn_id=event.turn_id)
    if event.reason == "access_ended":
        return AccessEndedError(turn_id=event.turn_id)
    if event.reason == "audit_unavailable":
        return AuditUnavailableProblemError(
            "The audit log cannot take the record, so the answer was stopped.", retry_after=5, turn_id=event.turn_id
        )
    return AttestError(turn_id=event.turn_id)


openai_routes = [list_models, chat_completions]
