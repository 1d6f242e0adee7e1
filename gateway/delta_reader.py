"""Reads the model's stream in a task of its own, so that it is not held up while a stretch is examined."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Self

from inference.ports import Delta

DEPTH = 256
"""Deltas that may wait; then reading pauses (a model faster than the guards), so memory stays bounded."""


class DeltaReader:
    """`async with DeltaReader(stream) as reader`: leaving the block closes the stream and ends the generation."""

    def __init__(self, stream: AsyncIterator[Delta]) -> None:
        self._stream = stream
        self._queue: asyncio.Queue[Delta | Exception | None] = asyncio.Queue(DEPTH)
        self._task: asyncio.Task[None] | None = None
        self._held: Exception | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._pump())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def batch(self, tick_s: float) -> list[Delta] | None:
        """Return all deltas that wait; an empty list when none comes for `tick_s`; None after the last.

        Raises what the stream raised, after the deltas that came before it.
        """
        if self._held is not None:
            raise self._held
        if self._ended:
            return None
        try:
            async with asyncio.timeout(tick_s):
                item = await self._queue.get()
        except TimeoutError:
            return []
        deltas: list[Delta] = []
        while isinstance(item, Delta):
            deltas.append(item)
            if self._queue.empty():
                return deltas
            item = self._queue.get_nowait()
        if item is None:
            self._ended = True
        else:
            self._held = item
        return deltas

    async def _pump(self) -> None:
        try:
            async for delta in self._stream:
                await self._queue.put(delta)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader raises it
            await self._queue.put(error)
        else:
            await self._queue.put(None)
        finally:
            if isinstance(self._stream, AsyncGenerator):
                await self._stream.aclose()
