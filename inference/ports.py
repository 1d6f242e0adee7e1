"""The port of the inference tier: one way to ask any engine or endpoint for an answer."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import msgspec


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    OBSERVATION = "observation"


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may ask the caller to run."""

    name: str
    description: str = ""
    parameters: str = "{}"
    """JSON Schema of its arguments, as JSON text."""


class ToolCall(msgspec.Struct, frozen=True):
    """The model asks for a tool. Nothing here runs it."""

    id: str
    name: str
    arguments: str
    """A JSON object, as JSON text."""


class Message(msgspec.Struct, frozen=True):
    """One message of a dialogue."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """What the assistant asked for in this message."""
    tool_call_id: str = ""
    """Which call an observation answers; empty where none is named."""


class ForbiddenWords(msgspec.Struct, frozen=True):
    """Words at which an answer is stopped, and the rule that forbids them."""

    rule: str
    words: tuple[str, ...]


class ChatRequest(msgspec.Struct, frozen=True):
    """One request for an answer. Bounds are checked by the server that takes it."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.9
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    drop_oldest: bool = False
    """Leave the oldest turns out when the dialogue is longer than the context; else such a request is refused."""
    forbidden: tuple[ForbiddenWords, ...] = ()
    """The answer ends with the first of these words: `content_filter`."""


class CompletionRequest(msgspec.Struct, frozen=True):
    """One request to continue a text or a list of token ids as it stands, without roles."""

    model: str
    prompt: str | tuple[int, ...]
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    ignore_eos: bool = False
    """Go on to `max_tokens` through every id that would end the answer."""
    token_ids: bool = False
    """Deliver the ids of prompt and answer too."""


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Timing(msgspec.Struct, frozen=True):
    """Where the time of one answer went, in seconds."""

    queued_s: float | None
    """Until the request got a place; None where whoever computes does not say."""
    first_s: float
    """From its arrival until its first token."""
    decode_s: float
    """From its first token until its last."""


class Delta(msgspec.Struct, frozen=True):
    """A stretch of the answer; the last one has `finish_reason`, and `usage` where the engine counts."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls that are complete; each is delivered once, whole."""
    token_ids: tuple[int, ...] = ()
    """Ids of this stretch, where they were asked for."""
    prompt_token_ids: tuple[int, ...] = ()
    """Ids of the prompt, in the first stretch, where they were asked for."""
    left_out: int = 0
    """Messages that were not read for want of room, in the last stretch (see `ChatRequest.drop_oldest`)."""
    timing: Timing | None = None
    """In the last stretch of engines in this process."""
    revision: str = ""
    """Revision of the weights that say this, where an endpoint names it."""
    lexicon: str = ""
    """Identity of the forbidden words that this answer is stopped at (`forbidden.digest`), in each stretch."""
    stopped_by: str = ""
    """In the last stretch: the rule of the forbidden word that ended the answer."""


class InferenceError(Exception):
    """The inference tier did not answer as it should. `retry_after` in seconds where waiting may help."""

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelInfo(msgspec.Struct, frozen=True):
    """A model that an endpoint serves."""

    name: str
    revision: str = ""
    """Manifest hash or other exact identity of the weights, where the endpoint gives one."""
    model: str = ""
    """Name under which people ask for whichever version is active; empty where there is one version only."""
    stage: str = ""
    """What a version is used for: `active`, `canary`, `mirror`; anything else answers nobody."""
    percent: int = 0
    """Share of the people whom a canary answers, or of the turns that a mirror answers too."""
    groups: tuple[str, ...] = ()
    """Groups whom a canary answers."""
    stops_words: bool = False
    """Whether answers are stopped at `ChatRequest.forbidden`."""
    context: int = 0
    """Most tokens of one request, prompt and answer; 0 where the endpoint does not say."""


class ChatModel(Protocol):
    """Anything that answers: an engine in this process or an endpoint over HTTP."""

    def stream(self, request: ChatRequest, headers: dict[str, str] | None = None) -> AsyncIterator[Delta]:
        """Yield the answer in stretches. Closing the iterator cancels the generation. Raises `InferenceError`.

        `headers` are passed on by endpoints (W3C trace context); engines in this process ignore them.
        """

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the models on offer. Raises `InferenceError` when the endpoint is not ready."""
