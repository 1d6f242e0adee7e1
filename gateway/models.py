"""Which models the inference tier offers, kept fresh without asking it for every turn."""

import asyncio
import time

from gateway.problems import InferenceUnavailableError, NotFoundError
from inference.ports import ChatModel, InferenceError, ModelInfo

FRESH_S = 10.0
PATIENCE_S = 5.0


class ModelCatalogue:
    """The models on offer and their exact revisions, asked for again when older than ten seconds."""

    def __init__(self, model: ChatModel, preferred: str = "") -> None:
        self._model = model
        self._preferred = preferred
        self._models: tuple[ModelInfo, ...] = ()
        self._at = float("-inf")
        self._asking = asyncio.Lock()

    async def refresh(self) -> tuple[ModelInfo, ...]:
        """Ask the inference tier now. Raises `InferenceUnavailableError`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._models = await self._model.models()
        except (InferenceError, TimeoutError) as error:
            self._at = float("-inf")
            raise InferenceUnavailableError(retry_after=5) from error
        self._at = time.monotonic()
        return self._models

    async def all(self) -> tuple[ModelInfo, ...]:
        """Return the models on offer, at most ten seconds old."""
        if time.monotonic() - self._at > FRESH_S:
            async with self._asking:
                if time.monotonic() - self._at > FRESH_S:
                    await self.refresh()
        return self._models

    async def resolve(self, name: str) -> str:
        """Return the name of a model on offer: `name` itself, or the default when it is empty.

        Raises `NotFoundError` when there is no such model.
        """
        names = [model.name for model in await self.all()]
        wanted = name or self._preferred or (names[0] if names else "")
        if wanted not in names:
            raise NotFoundError("There is no model of that name; /v1/models lists those on offer.")
        return wanted

    def revision_of(self, name: str) -> str:
        """Return the exact revision of a model as last heard; empty when the tier gives none."""
        return next((model.revision for model in self._models if model.name == name), "")
