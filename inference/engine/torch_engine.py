"""The torch engine: a ChatGLM3 checkpoint in this process, on the processor or a GPU, several requests together."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import torch

from inference.chatglm3 import loader
from inference.chatglm3.reply import NoText, Reply, ReplyReader
from inference.chatglm3.tokenizer import Tokenizer
from inference.chatglm3.tools import ToolReply
from inference.engine import devices, dialogue
from inference.engine.base import ClosedError, Load, ModelFolderError
from inference.engine.batch import BatchLoop
from inference.engine.jobs import Deliver, Job
from inference.engine.mailbox import Events, Mailbox
from inference.engine.sampling import Sampler, allowed_bias
from inference.errors import RequestRefusedError, UnknownModelError
from inference.forbidden import Lexicons
from inference.ports import ChatRequest, CompletionRequest, Delta, InferenceError, ModelInfo
from inference.quant.precision import BFLOAT16
from inference.sealed import SealedError, plain_view

LOG = logging.getLogger("attest.inference.engine")

PREFILL_CHUNK = 512
"""Tokens of a prompt that are read in one pass, which may pause after each part of a layer."""

QUANTISED_CHUNK = 1024
"""The same for quantised weights: making them wide costs the same for each chunk, so there are fewer of them."""

_SMALL_PARAMETERS = 200_000_000


class Limits(msgspec.Struct, frozen=True):
    """What an engine takes on."""

    places: int = 8
    """Requests that are decoded together."""
    queue: int = 64
    """Requests that may wait."""
    context: int = 0
    """Most tokens of one request, prompt and answer; 0 is the model's own context, which is never exceeded."""
    cache_tokens: int = 0
    """Tokens of key-value memory for all requests together; 0 is 4,096 for each place, at least one whole context."""


class TorchEngine:
    """Answers with a loaded checkpoint."""

    def __init__(
        self, checkpoint: loader.Checkpoint, name: str, limits: Limits | None = None, *, chunk: int = PREFILL_CHUNK
    ) -> None:
        given = limits or Limits()
        self._tokenizer = checkpoint.tokenizer
        own = checkpoint.published.seq_length
        self._vocabulary = checkpoint.published.padded_vocab_size
        self._context = min(given.context or own, own, given.cache_tokens or own)
        self._info = ModelInfo(name=name, revision=checkpoint.revision, stops_words=True, context=self._context)
        self._stop_ids = frozenset(checkpoint.stop_ids)
        self._bias = torch.zeros(self._vocabulary)
        self._tools_bias = self._bias
        if self._tokenizer is not None:
            special, stop_ids = self._tokenizer.specials, checkpoint.stop_ids
            self._bias = allowed_bias(self._vocabulary, special.pieces, stop_ids)
            self._tools_bias = allowed_bias(self._vocabulary, special.pieces, (*stop_ids, special.assistant))
        self._lexicons = Lexicons(self._tokenizer.piece if self._tokenizer is not None else lambda _: b"")
        self._mailbox = Mailbox()
        self._loop = BatchLoop(
            checkpoint,
            places=given.places,
            queue=given.queue,
            chunk=chunk,
            memory_tokens=given.cache_tokens or None,
            flush=self._mailbox.flush,
        )

    @property
    def info(self) -> ModelInfo:
        """The one model; its revision is a hash of configuration, tokenizer and weights."""
        return self._info

    async def start(self) -> None:
        """Start the decode loop."""
        self._mailbox.open()
        await asyncio.to_thread(self._loop.start)

    async def close(self) -> None:
        """Stop after the present step; running streams end with `InferenceError`."""
        await asyncio.to_thread(self._loop.stop)

    def load(self) -> Load:
        """Say how busy the engine is."""
        return self._loop.load()

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the one model."""
        if not self._loop.ready:
            raise ClosedError
        return (self._info,)

    def stream(
        self,
        request: ChatRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the port has it
    ) -> AsyncGenerator[Delta, None]:
        """Yield the answer. Raises `RequestRefusedError` when the request is at fault, else `InferenceError`.

        A prompt must leave room for one token in the context; the answer is cut off where the context ends.
        """
        return self._answers(partial(self._chat_job, request))

    def complete(
        self,
        request: CompletionRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the port has it
    ) -> AsyncGenerator[Delta, None]:
        """Continue a text or token ids as they stand. Raises as `stream`."""
        return self._answers(partial(self._completion_job, request))

    async def _answers(self, build: Callable[[Deliver], Awaitable[Job]]) -> AsyncGenerator[Delta, None]:
        events: Events = asyncio.Queue()
        job = await build(partial(self._mailbox.post, events))
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

    async def _chat_job(self, request: ChatRequest, deliver: Deliver) -> Job:
        tokenizer = self._chat_tokenizer(request.model)
        found = await asyncio.to_thread(dialogue.read, tokenizer, request, self._context)
        reply: ReplyReader = Reply(tokenizer, request.stop)
        if request.tools:
            reply = ToolReply(tokenizer, request.stop, frozenset(tool.name for tool in request.tools))
        return Job(
            prompt=found.ids,
            max_tokens=min(request.max_tokens, self._context - len(found.ids)),
            sampler=Sampler(request.temperature, request.top_p, request.seed),
            reply=reply,
            deliver=deliver,
            stop_ids=self._stop_ids,
            bias=self._tools_bias if request.tools else self._bias,
            left_out=found.left_out,
            forbidden=await asyncio.to_thread(self._lexicons.walk, request.forbidden) if request.forbidden else None,
        )

    async def _completion_job(self, request: CompletionRequest, deliver: Deliver) -> Job:
        if request.model != self._info.name:
            raise UnknownModelError
        read = partial(dialogue.continued, vocabulary=self._vocabulary, room=self._context)
        ids = await asyncio.to_thread(read, self._tokenizer, request)
        return Job(
            prompt=ids,
            max_tokens=min(request.max_tokens, self._context - len(ids)),
            sampler=Sampler(request.temperature, request.top_p, request.seed),
            reply=Reply(self._tokenizer, request.stop, continued=True) if self._tokenizer else NoText(),
            deliver=deliver,
            stop_ids=frozenset() if request.ignore_eos else self._stop_ids,
            bias=self._bias,
            token_ids=request.token_ids,
        )

    def _chat_tokenizer(self, model: str) -> Tokenizer:
        if model != self._info.name:
            raise UnknownModelError
        if self._tokenizer is None:
            raise RequestRefusedError(
                "This model has no tokenizer: send token ids to /v1/completions.", code="no_tokenizer", param="messages"
            )
        return self._tokenizer


class Threads:
    """How many threads torch computes with: a number of the whole process, so that of its largest model."""

    def __init__(self) -> None:
        self._all = torch.get_num_threads()
        self._largest = 0

    def opens(self, parameters: int) -> None:
        """Set it for a model that is opened beside the others."""
        self._largest = max(self._largest, parameters)
        # Matrices that small cost more in handing them to threads than in computing them.
        torch.set_num_threads(1 if self._largest < _SMALL_PARAMETERS else self._all)


def open_engine(
    folder: Path, *, dtype: str, name: str, limits: Limits, device: str = "cpu", threads: Threads | None = None
) -> TorchEngine:
    """Load a folder and return its engine, not yet started. Raises `ModelFolderError`.

    `threads` are those of the process; without them the model is taken for its only one.
    """
    try:
        with plain_view(folder) as plain:
            try:
                checkpoint = loader.load(plain, dtype, device=device, tokenizer_needed=False)
            except ModelFolderError as error:
                raise ModelFolderError(str(error).replace(str(plain), str(folder))) from None
    except SealedError as error:
        raise ModelFolderError(str(error)) from None
    if checkpoint.tokenizer is None:
        LOG.warning("the folder has no tokenizer.model: only token ids are served")
    on = checkpoint.device
    if checkpoint.precision == BFLOAT16 and not devices.computes_bfloat16(on):
        LOG.warning("this device has no instructions for bfloat16: --dtype auto is several times as fast")
    LOG.info("computing", extra={"device": devices.name(on), "dtype": checkpoint.precision.name})
    (threads or Threads()).opens(checkpoint.published.parameters)
    chunk = PREFILL_CHUNK if checkpoint.published.quantization_config is None else QUANTISED_CHUNK
    return TorchEngine(checkpoint, name or folder.resolve().name, limits, chunk=chunk)
