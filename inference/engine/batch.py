"""The loop that decodes several requests together, in a thread of its own.

Prompts are read in chunks of a fixed size, a few parts of a layer at a time: between two slices every running request
gets its next token, so that a long prompt holds nobody up for longer than about one decode step, and a request that
comes meanwhile gets its place. Where a chunk pauses does not change what it computes, so an answer never depends on who
else is there. Requests join and leave between turns.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch

from inference.chatglm3.loader import Checkpoint
from inference.engine import devices, slots
from inference.engine.base import ClosedError, Load
from inference.engine.jobs import Job
from inference.engine.schedule import Pace, Prompts
from inference.errors import EngineFailedError, QueueFullError, RequestTooLargeError
from inference.ports import InferenceError

LOG = logging.getLogger("attest.inference.engine")

_RESTART_PAUSE_S = 0.1
_TOKENS_PER_PLACE = 4096
"""Key-value memory is bounded to this many tokens for each place, or to one whole context if that is more."""
_STALLED_S = 120.0
"""A turn of the loop that takes longer than this counts as hung: the engine says that it is not ready."""
_JOIN_S = 10.0


class BatchLoop:
    """Owns the model; `submit` and `cancel` may be called from any thread."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        places: int,
        queue: int,
        chunk: int,
        memory_tokens: int | None = None,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        """`flush` is called after each part of a turn: what was delivered until then should go on its way."""
        self._flush = flush
        self._memory_tokens = memory_tokens or max(checkpoint.published.seq_length, places * _TOKENS_PER_PLACE)
        self._model = checkpoint.model
        self._dtype = checkpoint.precision.activations
        self._device = checkpoint.device
        self._places = places
        self._queue = queue
        self._chunk = chunk
        self._quantum = 1
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._prompts = Prompts()
        self._pace = Pace()
        self._changed = threading.Condition()
        self._open = False
        self._thread: threading.Thread | None = None
        self._turn_began: float | None = None
        self._restarts = self._steps = self._rows = self._prompt_tokens = 0

    def start(self) -> None:
        """Start the loop's thread."""
        slots.register(self._model)
        with torch.inference_mode():
            self._quantum = slots.row_quantum(self._model, self._places)
        self._open = True
        self._thread = threading.Thread(target=self._supervise, name="attest-decode", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop after its present turn; requests that run or wait get an error."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    @property
    def ready(self) -> bool:
        """Whether a request would be served: the thread lives and its present turn has not hung."""
        began = self._turn_began
        hung = began is not None and time.monotonic() - began > _STALLED_S
        return self._open and self._thread is not None and self._thread.is_alive() and not hung

    def load(self) -> Load:
        """Say how busy the loop is."""
        running = tuple(self._running)
        return Load(
            ready=self.ready,
            running=len(running),
            waiting=len(self._waiting),
            restarts=self._restarts,
            places=self._places,
            cache_tokens=sum(job.capacity for job in running),
            cache_limit=self._memory_tokens,
            decode_steps=self._steps,
            decode_rows=self._rows,
            prompt_tokens=self._prompt_tokens,
        )

    def submit(self, job: Job) -> None:
        """Add a request. Raises `RequestTooLargeError`, `QueueFullError` or `ClosedError`."""
        if job.capacity > self._memory_tokens:
            raise RequestTooLargeError(self._memory_tokens)
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

    def _supervise(self) -> None:
        """Run the loop, and run it again whatever it dies of; nobody is left waiting without an answer.

        A device that computes no more is not tried again: the engine is not ready from then on (see `devices.works`).
        """
        with torch.inference_mode():
            while self._open:
                try:
                    while self._open:
                        self._turn()
                except BaseException:  # the loop must survive whatever the model does
                    LOG.exception("the decode loop failed and starts again")
                    self._restarts += 1
                    self._turn_began = None
                    self._fail(self._running, EngineFailedError())
                    self._flush()
                    if not devices.works(self._device):
                        LOG.critical("the device computes no more: start the process anew")
                        self._open = False
                    with self._changed:
                        self._changed.wait(_RESTART_PAUSE_S)
            self._fail(self._running, ClosedError())
            self._fail(self._waiting, ClosedError())
            self._flush()

    def _fail(self, jobs: list[Job] | deque[Job], error: InferenceError) -> None:
        with self._changed:
            failed = list(jobs)
            jobs.clear()
        for job in failed:
            job.forget()
            with contextlib.suppress(Exception):
                job.say(error)

    def _turn(self) -> None:
        self._turn_began = None
        self._admit()
        self._turn_began = time.monotonic()
        self._read()
        self._flush()
        self._decode()
        self._flush()

    def _admit(self) -> None:
        """Drop cancelled requests, wait while there is nothing to do, and fill the free places."""
        with self._changed:
            while self._open and not self._running and not self._waiting:
                self._changed.wait()
            for jobs in (self._running, self._waiting):
                for job in [job for job in jobs if job.cancelled.is_set()]:
                    jobs.remove(job)
                    job.forget()
            while self._one_may_start():
                job = self._waiting.popleft()
                job.clock.admitted = time.monotonic()
                self._running.append(job)

    def _one_may_start(self) -> bool:
        """Say whether a request waits that would get a place now."""
        return bool(self._waiting) and len(self._running) < self._places and self._fits(self._waiting[0])

    def _fits(self, job: Job) -> bool:
        return job.capacity + sum(other.capacity for other in self._running) <= self._memory_tokens

    def _read(self) -> None:
        """Read on in one prompt: a whole chunk, or as much of it as those that decode, or that come, can wait for."""
        job = self._prompts.next(self._running)
        if job is None:
            return
        alone = not any(other.generated for other in self._running)
        with self._alone(job):
            if job.memory is None:
                job.memory = slots.Memory(self._model.config, job.capacity, self._dtype, self._device)
            if job.reading is None:
                job.reading = slots.Reading(self._model, job.memory, job.prompt[job.read : job.read + self._chunk])
            began = last = time.monotonic()
            while not job.reading.advance():
                now = time.monotonic()
                self._pace.read(now - last)
                if self._one_may_start() or not (alone or self._pace.goes_on(now - began)):
                    return
                last = now
            reading, job.reading = job.reading, None
            job.read += reading.count
            self._prompt_tokens += reading.count
            if not job.unread:
                self._give(job, reading.logits()[0])

    def _decode(self) -> None:
        jobs = [job for job in self._running if job.generated]
        if not jobs:
            return
        began = time.monotonic()
        memories = [job.memory for job in jobs if job.memory is not None]
        logits = slots.decode(self._model, memories, [job.last for job in jobs], self._quantum)
        for job, row in zip(jobs, logits, strict=True):
            with self._alone(job):
                self._give(job, row)
        self._steps += 1
        self._rows += len(jobs)
        self._pace.stepped(time.monotonic() - began)

    def _give(self, job: Job, logits: torch.Tensor) -> None:
        if job.choose(logits):
            with self._changed:
                self._running.remove(job)
            job.forget()
            job.finish()

    @contextlib.contextmanager
    def _alone(self, job: Job) -> Iterator[None]:
        """Make what fails within the end of this one request, and of nobody else's."""
        try:
            yield
        except Exception:  # whatever it is, the others go on
            if not devices.works(self._device):
                raise
            LOG.exception("one request failed in the decode loop")
            with self._changed, contextlib.suppress(ValueError):
                self._running.remove(job)
            job.forget()
            job.say(EngineFailedError())
