"""What the server needs of an engine beyond the port: a life, and a look at its load."""

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from inference.ports import ChatModel, ChatRequest, Delta, InferenceError, ModelInfo, Role


class Load(msgspec.Struct, frozen=True):
    """How busy an engine is now."""

    ready: bool
    running: int = 0
    waiting: int = 0
    restarts: int = 0
    """How often the engine's loop failed and was started again."""


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


class ClosedError(InferenceError):
    """The engine stops or has not started."""

    def __init__(self) -> None:
        super().__init__("The inference tier is not running.", retry_after=2)


ROLES = frozenset(role.value for role in Role)
