"""A streaming response that always closes what it streams.

Litestar's own leaves the generator suspended where sending was cancelled; here closing is certain and comes at once.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from anyio import CancelScope, create_task_group
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send


class EventStreamResponse(ASGIStreamingResponse):
    """Sends server-sent events; whatever ends it, `close` is awaited afterwards."""

    __slots__ = ("_close", "_events")

    def __init__(self, events: AsyncGenerator[bytes, None], close: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            iterator=events,
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._events = events
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then close."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self._events.aclose()
                await self._close()

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send the events until they end or the client is gone."""
        async with create_task_group() as group:

            async def watch() -> None:
                message: Any = await receive()
                while message["type"] != "http.disconnect":
                    message = await receive()
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await self._stream(send)
            group.cancel_scope.cancel()
