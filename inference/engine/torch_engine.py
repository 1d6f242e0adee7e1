"""The CPU engine: a ChatGLM3 checkpoint in this process, several requests decoded together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import torch

from inference.chatglm3 import loader, prompt
from inference.chatglm3.reply import Reply
from inference.chatglm3.tokenizer import Tokenizer
from inference.engine.base import ClosedError, Load, ModelFolderError
from inference.engine.batch import BatchLoop, Job
from inference.engine.sampling import Sampler
from inference.errors import ContextOverflowError, RequestRefusedError, UnknownModelError
from inference.ports import ChatRequest, Delta, InferenceError, ModelInfo

PREFILL_CHUNK = 256
"""Tokens of a prompt that are read at once; a late request's first token waits for at most one such chunk."""

_SMALL_PARAMETERS = 200_000_000


class TorchEngine:
    """Answers with a loaded checkpoint. `places` requests run together, `queue` more may wait."""

    def __init__(
        self,
        checkpoint: loader.Checkpoint,
        name: str,
        *,
        places: int = 8,
        queue: int = 64,
        chunk: int = PREFILL_CHUNK,
    ) -> None:
        if checkpoint.tokenizer is None:
            raise ModelFolderError("The folder has no tokenizer.model, which chat needs.")
        self._tokenizer: Tokenizer = checkpoint.tokenizer
        self._context = checkpoint.published.seq_length
        self._info = ModelInfo(name=name, revision=checkpoint.revision)
        self._loop = BatchLoop(checkpoint, self._tokenizer, places=places, queue=queue, chunk=chunk)

    @property
    def info(self) -> ModelInfo:
        """The one model; its revision is a hash of configuration, tokenizer and weights."""
        return self._info

    async def start(self) -> None:
        """Start the decode loop."""
        await asyncio.to_thread(self._loop.start)

    async def close(self) -> None:
        """Stop after the present step; running streams end with `InferenceError`."""
        await asyncio.to_thread(self._loop.stop)

    def load(self) -> Load:
        """Say how busy the engine is."""
        loop = self._loop
        return Load(ready=loop.ready, running=loop.running, waiting=loop.waiting, restarts=loop.restarts)

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the one model."""
        if not self._loop.ready:
            raise ClosedError
        return (self._info,)

    async def stream(
        self,
        request: ChatRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the port has it
    ) -> AsyncGenerator[Delta, None]:
        """Yield the answer. Raises `RequestRefusedError` when the request is at fault, else `InferenceError`.

        A prompt must leave room for one token in the context; the answer is cut off where the context ends.
        """
        if request.model != self._info.name:
            raise UnknownModelError
        ids = await self._prompt(request)
        events: asyncio.Queue[Delta | InferenceError] = asyncio.Queue()
        running = asyncio.get_running_loop()

        def deliver(event: Delta | InferenceError) -> None:
            # A server that has just stopped has no loop any more; nobody waits there.
            with contextlib.suppress(RuntimeError):
                running.call_soon_threadsafe(events.put_nowait, event)

        job = Job(
            prompt=ids,
            max_tokens=min(request.max_tokens, self._context - len(ids)),
            sampler=Sampler(request.temperature, request.top_p, request.seed),
            reply=Reply(self._tokenizer, request.stop),
            deliver=deliver,
        )
        self._loop.submit(job)
        try:
            while True:
                event = await events.get()
                if isinstance(event, InferenceError):
                    raise event
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            self._loop.cancel(job)

    async def _prompt(self, request: ChatRequest) -> list[int]:
        if prompt.shortest(self._tokenizer, request.messages) >= self._context:
            raise ContextOverflowError(f"The messages are longer than the context of {self._context} tokens.")
        try:
            ids = await asyncio.to_thread(prompt.build, self._tokenizer, request.messages)
        except ValueError:
            raise RequestRefusedError("A message is not valid Unicode.", param="messages") from None
        if len(ids) >= self._context:
            raise ContextOverflowError(
                f"The messages have {len(ids)} tokens, which leaves no room in the context of {self._context}."
            )
        return ids


def open_engine(folder: Path, *, dtype: str, name: str, slots: int, queue: int) -> TorchEngine:
    """Load a folder and return its engine, not yet started. Raises `ModelFolderError`."""
    checkpoint = loader.load(folder, dtype)
    if sum(parameter.numel() for parameter in checkpoint.model.parameters()) < _SMALL_PARAMETERS:
        # Matrices this small cost more in handing them to threads than in computing them.
        torch.set_num_threads(1)
    return TorchEngine(checkpoint, name or folder.resolve().name, places=slots, queue=queue)
