"""How many turns run at once: a fixed number of places and a bounded queue before them, first come first served."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from gateway.problems import OverloadedError

LONGEST_ADVICE_S = 30
"""`Retry-After` never says more: the estimate is rough."""
_WEIGHT = 0.1


class ConcurrencyGate:
    """`places` turns run, `queue` wait at most `wait_s` seconds; everyone else is told to come back."""

    def __init__(self, places: int, queue: int, wait_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if places < 1 or queue < 0 or wait_s <= 0:
            raise ValueError("a gate needs places, a queue of 0 or more, and a wait")
        self._places = places
        self._queue = queue
        self._wait_s = wait_s
        self._clock = clock
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._usual_s = 1.0

    @property
    def running(self) -> int:
        """Turns that hold a place."""
        return self._running

    @property
    def queued(self) -> int:
        """Turns that wait for one."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for the length of the block.

        Raises `OverloadedError` with `retry_after` at once when the queue is full, and when the wait was too long. A
        cancelled waiter leaves the queue, and hands on a place that it was given at the same moment.
        """
        await self._enter()
        since = self._clock()
        try:
            yield
        finally:
            self._usual_s += _WEIGHT * (self._clock() - since - self._usual_s)
            self._leave()

    async def _enter(self) -> None:
        if self._running < self._places and not self._waiting:
            self._running += 1
            return
        if len(self._waiting) >= self._queue:
            raise OverloadedError(retry_after=self._advice())
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(self._wait_s):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._leave()
            else:
                # `_leave` may have met it already, cancelled, and thrown it out.
                with suppress(ValueError):
                    self._waiting.remove(mine)
            if isinstance(error, TimeoutError):
                raise OverloadedError(retry_after=self._advice()) from None
            raise

    def _leave(self) -> None:
        """Hand the place to the first who waits, or free it."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._running -= 1

    def _advice(self) -> int:
        """Whole seconds after which a place is likely: the usual length of a turn times the rounds ahead."""
        rounds = (len(self._waiting) + 1) / self._places
        return max(1, min(LONGEST_ADVICE_S, math.ceil(self._usual_s * rounds)))
