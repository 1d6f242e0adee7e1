"""What a turn has released and its reader has not taken yet."""

import asyncio

from gateway.problems import AttestError
from gateway.turn_events import TurnEvent

UNREAD_EVENTS = 64
"""Events that may wait for a reader; a reader slower than this holds the model back."""
STALL_S = 60.0
"""A reader that takes nothing for so long counts as gone."""


class Unread:
    """A bounded queue of events from one turn to its one reader.

    Its end needs no room, so that no event has to be thrown away for it: what was put is read, whole and in order.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[TurnEvent | AttestError | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(UNREAD_EVENTS)

    async def put(self, event: TurnEvent) -> None:
        """Add an event when there is room for it. Raises `TimeoutError` when the reader counts as gone."""
        # Not wait_for: on Python 3.11 it swallows a cancellation that comes as the room is given.
        async with asyncio.timeout(STALL_S):
            await self._room.acquire()
        self._queue.put_nowait(event)

    def end(self, error: AttestError | None) -> None:
        """Say that nothing follows, or that the reader is to raise `error`."""
        self._queue.put_nowait(error)

    async def get(self) -> TurnEvent | None:
        """Take the next event; None after the last. Raises the error that stands at the end."""
        event = await self._queue.get()
        if isinstance(event, AttestError):
            raise event
        if event is not None:
            self._room.release()
        return event
