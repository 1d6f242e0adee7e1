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


class Message(msgspec.Struct, frozen=True):
    """One message of a dialogue."""

    role: Role
    content: str


class ChatRequest(msgspec.Struct, frozen=True):
    """One request for an answer. Bounds are checked by the server that takes it."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.9
    stop: tuple[str, ...] = ()
    seed: int | None = None


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Delta(msgspec.Struct, frozen=True):
    """A stretch of the answer; the last one has `finish_reason`, and `usage` where the engine counts."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


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


class ChatModel(Protocol):
    """Anything that answers: an engine in this process or an endpoint over HTTP."""

    def stream(self, request: ChatRequest, headers: dict[str, str] | None = None) -> AsyncIterator[Delta]:
        """Yield the answer in stretches. Closing the iterator cancels the generation. Raises `InferenceError`.

        `headers` are passed on by endpoints (W3C trace context); engines in this process ignore them.
        """

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the models on offer. Raises `InferenceError` when the endpoint is not ready."""
