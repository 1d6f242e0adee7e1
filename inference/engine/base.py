"""What the server needs of an engine beyond the port: a life, and a look at its load."""

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec
from msgspec import UnsetType

from inference.ports import ChatModel, ChatRequest, CompletionRequest, Delta, InferenceError, ModelInfo, Role


class Load(msgspec.Struct, frozen=True):
    """How busy an engine is now. What an engine cannot know is unset, which is absent in `/health` and `/metrics`."""

    ready: bool
    running: int = 0
    waiting: int | UnsetType = 0
    restarts: int | UnsetType = 0
    """How often the engine's loop failed and was started again."""
    places: int = 0
    """Requests that can be decoded together."""
    cache_tokens: int | UnsetType = 0
    """Tokens of key-value memory that running requests hold."""
    cache_limit: int | UnsetType = 0
    """Most tokens of key-value memory."""
    decode_steps: int | UnsetType = 0
    """Decode steps so far, and below the tokens that they gave: their ratio is the batch's mean size."""
    decode_rows: int = 0
    prompt_tokens: int = 0
    """Tokens of prompts that have been read so far."""


class ModelFolderError(Exception):
    """The model cannot be served; the message names the file, key or tensor that is missing or wrong."""


class Engine(ChatModel, Protocol):
    """A `ChatModel` in this process."""

    @property
    def info(self) -> ModelInfo:
        """The one model that this engine serves."""

    async def start(self) -> None:
        """Get ready. Raises `ModelFolderError`."""

    async def close(self) -> None:
        """Stop. Running streams end with `InferenceError`."""

    def load(self) -> Load:
        """Say how busy the engine is."""

    def stream(self, request: ChatRequest, headers: dict[str, str] | None = None) -> AsyncGenerator[Delta, None]:
        """As in the port; a generator, so that it can be closed."""

    def complete(
        self, request: CompletionRequest, headers: dict[str, str] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Continue a text or token ids as they stand. Raises and is closed as `stream`."""


class ClosedError(InferenceError):
    """The engine stops or has not started."""

    def __init__(self) -> None:
        super().__init__("The inference tier is not running.", retry_after=2)


ROLES = frozenset(role.value for role in Role)
