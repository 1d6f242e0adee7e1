"""From the decode loop's thread to the streams of the event loop: one wake-up a step, not one for each token."""

import asyncio
import contextlib

from inference.ports import Delta, InferenceError

Events = asyncio.Queue[Delta | InferenceError]


class Mailbox:
    """Filled and flushed by the decode loop's thread only."""

    def __init__(self) -> None:
        self._pending: list[tuple[Events, Delta | InferenceError]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Deliver to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def post(self, events: Events, event: Delta | InferenceError) -> None:
        """Put an event into a stream's queue at the next `flush`."""
        self._pending.append((events, event))

    def flush(self) -> None:
        """Hand over what has been posted."""
        if self._pending and self._loop is not None:
            posted, self._pending = self._pending, []
            # A server that has just stopped has no loop any more; nobody waits there.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_hand_over, posted)


def _hand_over(posted: list[tuple[Events, Delta | InferenceError]]) -> None:
    for events, event in posted:
        events.put_nowait(event)
