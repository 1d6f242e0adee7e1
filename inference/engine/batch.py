"""The loop that decodes several requests together, in a thread of its own.

Each turn of the loop reads at most one chunk of one prompt and then decodes one token of every running request, so that
a long prompt never stalls the others for longer than one chunk. Requests join and leave between turns.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.chatglm3.loader import Checkpoint
from inference.chatglm3.reply import Reply
from inference.chatglm3.tokenizer import Tokenizer
from inference.engine import slots
from inference.engine.base import ClosedError
from inference.engine.sampling import Sampler, allowed_bias
from inference.errors import EngineFailedError, QueueFullError
from inference.ports import Delta, FinishReason, InferenceError, Usage

LOG = logging.getLogger("attest.inference.engine")

_RESTART_PAUSE_S = 0.1
_TOKENS_PER_PLACE = 4096
"""Key-value memory is bounded to this many tokens for each place, or to one whole context if that is more."""

Deliver = Callable[[Delta | InferenceError], None]


@dataclass(eq=False)
class Job:
    """One request in the loop; equal only to itself."""

    prompt: list[int]
    max_tokens: int
    sampler: Sampler
    reply: Reply
    deliver: Deliver
    """Called from the loop's thread with each stretch of the answer, the last one with a finish reason, or an error."""
    memory: slots.Memory | None = None
    read: int = 0
    """Tokens of the prompt that have been read."""
    last: int = 0
    """The token chosen last, not yet read."""
    generated: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def capacity(self) -> int:
        """Most tokens that the request can come to."""
        return len(self.prompt) + self.max_tokens


class BatchLoop:
    """Owns the model; `submit` and `cancel` may be called from any thread."""

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer, *, places: int, queue: int, chunk: int) -> None:
        context = checkpoint.published.seq_length
        self._memory_tokens = max(context, places * _TOKENS_PER_PLACE)
        self._model = checkpoint.model
        self._dtype = checkpoint.dtype
        self._stop_ids = frozenset(checkpoint.stop_ids)
        self._bias = allowed_bias(
            checkpoint.published.padded_vocab_size, tokenizer.specials.pieces, checkpoint.stop_ids
        )
        self._places = places
        self._queue = queue
        self._chunk = chunk
        self._quantum = 1
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._open = False
        self._thread: threading.Thread | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start the loop's thread."""
        slots.register(self._model)
        with torch.inference_mode():
            self._quantum = slots.row_quantum(self._model, self._places)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="attest-decode", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop after its present turn; requests that run or wait get an error."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether a request would be served."""
        return self._open and self._thread is not None and self._thread.is_alive()

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        """Add a request. Raises `QueueFullError` or `ClosedError`."""
        with self._changed:
            if not self._open:
                raise ClosedError
            if len(self._running) + len(self._waiting) >= self._places + self._queue:
                raise QueueFullError
            self._waiting.append(job)
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Give a request up; nothing more is delivered."""
        job.cancelled.set()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._open:
                try:
                    self._turn()
                except Exception:  # the loop must survive whatever the model does
                    LOG.exception("the decode loop failed and starts again")
                    self.restarts += 1
                    self._fail(self._running, EngineFailedError())
                    with self._changed:
                        self._changed.wait(_RESTART_PAUSE_S)
            self._fail(self._running, ClosedError())
            self._fail(self._waiting, ClosedError())

    def _fail(self, jobs: list[Job] | deque[Job], error: InferenceError) -> None:
        with self._changed:
            failed = list(jobs)
            jobs.clear()
        for job in failed:
            _deliver(job, error)

    def _turn(self) -> None:
        self._admit()
        self._read_prompt()
        self._decode()

    def _admit(self) -> None:
        """Drop cancelled requests, wait while there is nothing to do, and fill the free places."""
        with self._changed:
            while self._open and not self._running and not self._waiting:
                self._changed.wait()
            for jobs in (self._running, self._waiting):
                for job in [job for job in jobs if job.cancelled.is_set()]:
                    jobs.remove(job)
            while self._waiting and len(self._running) < self._places and self._fits(self._waiting[0]):
                self._running.append(self._waiting.popleft())

    def _fits(self, job: Job) -> bool:
        return job.capacity + sum(other.capacity for other in self._running) <= self._memory_tokens

    def _read_prompt(self) -> None:
        """Read one chunk of the first prompt that is not read yet; after its last chunk comes the first token."""
        job = next((job for job in self._running if job.read < len(job.prompt)), None)
        if job is None:
            return
        if job.memory is None:
            job.memory = slots.Memory(self._model.config, job.capacity, self._dtype)
        ids = job.prompt[job.read : job.read + self._chunk]
        logits = slots.prefill(self._model, job.memory, ids)
        job.read += len(ids)
        if job.read == len(job.prompt):
            self._choose(job, logits[0])

    def _decode(self) -> None:
        jobs = [job for job in self._running if job.generated]
        if not jobs:
            return
        memories = [job.memory for job in jobs if job.memory is not None]
        logits = slots.decode(self._model, memories, [job.last for job in jobs], self._quantum)
        for job, row in zip(jobs, logits, strict=True):
            self._choose(job, row)

    def _choose(self, job: Job, logits: Tensor) -> None:
        """Choose the next token of a request and deliver what it adds; a finished request leaves."""
        token = job.sampler.choose(logits + self._bias)
        job.last = token
        job.generated += 1
        text, stopped = ("", False) if token in self._stop_ids else job.reply.push(token)
        finish = FinishReason.STOP if stopped or token in self._stop_ids else None
        if finish is None and job.generated >= job.max_tokens:
            finish = FinishReason.LENGTH
        if finish is None:
            if text:
                _deliver(job, Delta(text=text))
            return
        with self._changed:
            self._running.remove(job)
        rest = "" if stopped else job.reply.flush()
        usage = Usage(prompt_tokens=len(job.prompt), completion_tokens=job.generated)
        _deliver(job, Delta(text=text + rest, finish_reason=finish, usage=usage))


def _deliver(job: Job, event: Delta | InferenceError) -> None:
    if not job.cancelled.is_set():
        job.deliver(event)
