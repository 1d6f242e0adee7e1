"""Dynamic micro-batching: the sequences of concurrent turns share runs of the model.

A few worker threads. Each takes what is queued at that moment (it waits for nothing: while one batch runs, the next
gathers), groups it by length and runs it. Judged sequences are kept in a bounded cache, by hash of their tokens, so
that a sentence that was judged with its message costs nothing as overlap.

What a run answers is handed to the event loop in one wake-up: a `concurrent.futures.Future` for each call, with its
lock and its wake-up, took a fifth of the loop's time under load.
"""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

from safety.classifier.manifest import OUTPUTS
from safety.classifier.onnx import Logits, Model, grouped
from safety.classifier.tokenise import Ids

CACHED = 20_000
"""Sequences whose logits are kept: about 6 MB."""
GATHERED = 8
"""Sequences after which a worker takes no more from the queue for one round of batches. A call with more of them, that
of a long text, is cut into requests of so many, which the workers share."""


class BatcherClosedError(RuntimeError):
    """The batcher was closed before it judged the sequences."""


@dataclass(slots=True, eq=False)
class _Request:
    """Sequences of one call, and the place for their logits, which only the event loop touches."""

    sequences: Sequence[Ids]
    keys: list[bytes]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Logits]


_Outcome = tuple[_Request, Logits | Exception]


class Batcher:
    """Shares one model between concurrent calls."""

    def __init__(self, model: Model, *, cached: int = CACHED, workers: int = 1) -> None:
        """Start the worker threads; `close` ends them."""
        self._model = model
        self._cached = cached
        self._cache: OrderedDict[bytes, Logits] = OrderedDict()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._closed = False
        self._workers = [threading.Thread(target=self._work, name="classifier", daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    async def judge(self, sequences: Sequence[Ids]) -> Logits:
        """Logits of sequences, in their order: (sequences, outputs). Raises what the model raises."""
        if not sequences:
            return np.empty((0, len(OUTPUTS)), np.float32)
        keys = [_key(ids) for ids in sequences]
        known = self._known(keys)
        if len(known) == len(set(keys)):
            return np.stack([known[key] for key in keys])
        loop = asyncio.get_running_loop()
        requests = [
            _Request(sequences[at : at + GATHERED], keys[at : at + GATHERED], loop, loop.create_future())
            for at in range(0, len(keys), GATHERED)
        ]
        with self._lock:
            if self._closed:
                raise BatcherClosedError
            for request in requests:
                self._queue.put(request)
        return np.concatenate(await asyncio.gather(*(request.done for request in requests)))

    async def close(self) -> None:
        """End the workers after what is queued; later calls raise `BatcherClosedError`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        for worker in self._workers:
            await asyncio.to_thread(worker.join)

    @property
    def cached(self) -> int:
        """Sequences in the cache."""
        return len(self._cache)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Logits]:
        with self._lock:
            found = {}
            for key in keys:
                if (logits := self._cache.get(key)) is not None:
                    self._cache.move_to_end(key)
                    found[key] = logits
            return found

    def _keep(self, keys: Sequence[bytes], logits: Logits) -> None:
        with self._lock:
            for key, row in zip(keys, logits, strict=True):
                self._cache[key] = row
                self._cache.move_to_end(key)
            while len(self._cache) > self._cached:
                self._cache.popitem(last=False)

    def _work(self) -> None:
        while True:
            requests, ended = self._gather()
            requests = [request for request in requests if not request.done.cancelled()]
            if requests:
                self._judge_all(requests)
            if ended:
                self._queue.put(None)  # for the next worker
                return

    def _gather(self) -> tuple[list[_Request], bool]:
        """Wait for a request, then take what else is queued; True when the batcher was closed."""
        requests: list[_Request] = []
        taken = 0
        try:
            item = self._queue.get()
            while item is not None:
                requests.append(item)
                taken += len(item.sequences)
                if taken >= GATHERED:
                    return requests, False
                item = self._queue.get_nowait()
        except Empty:
            return requests, False
        return requests, True

    def _judge_all(self, requests: list[_Request]) -> None:
        """Run what is not known, batch by batch; a failed batch fails only the requests with a sequence in it."""
        logits = self._known([key for request in requests for key in request.keys])
        missing = {
            key: ids
            for request in requests
            for key, ids in zip(request.keys, request.sequences, strict=True)
            if key not in logits
        }
        keys, sequences = list(missing), list(missing.values())
        waiting = {id(request): request for request in requests}
        self._answer(waiting, logits)
        for group in grouped([len(ids) for ids in sequences]):
            members = [keys[at] for at in group]
            try:
                rows = self._model.run([sequences[at] for at in group])
            except Exception as error:  # noqa: BLE001 - handed to the callers that wait for it
                self._fail(waiting, set(members), error)
                continue
            logits.update(zip(members, rows, strict=True))
            self._keep(members, rows)
            self._answer(waiting, logits)

    def _answer(self, waiting: dict[int, _Request], logits: dict[bytes, Logits]) -> None:
        whole = [request for request in waiting.values() if all(key in logits for key in request.keys)]
        self._hand_over(waiting, [(request, np.stack([logits[key] for key in request.keys])) for request in whole])

    def _fail(self, waiting: dict[int, _Request], members: set[bytes], error: Exception) -> None:
        lost = [request for request in waiting.values() if members.intersection(request.keys)]
        self._hand_over(waiting, [(request, error) for request in lost])

    def _hand_over(self, waiting: dict[int, _Request], outcomes: list[_Outcome]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
        for request, outcome in outcomes:
            del waiting[id(request)]
            by_loop.setdefault(request.loop, []).append((request, outcome))
        for loop, part in by_loop.items():
            with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
                loop.call_soon_threadsafe(_settle, part)


def _settle(outcomes: list[_Outcome]) -> None:
    for request, outcome in outcomes:
        if request.done.done():
            continue
        if isinstance(outcome, Exception):
            request.done.set_exception(outcome)
        else:
            request.done.set_result(outcome)


def _key(ids: Ids) -> bytes:
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
