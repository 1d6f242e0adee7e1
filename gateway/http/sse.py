"""Server-sent events: bytes of one event, and heartbeats while nothing happens (HTML Living Standard, section 9.2)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

HEARTBEAT = b": still here\n\n"
HEARTBEAT_S = 10.0


def data(payload: bytes) -> bytes:
    """Return an event without a name; the payload is one line."""
    return b"data: " + payload + b"\n\n"


def event(name: str, payload: bytes) -> bytes:
    """Return a named event; the payload is one line."""
    return b"event: " + name.encode() + b"\ndata: " + payload + b"\n\n"


async def with_heartbeat(
    events: AsyncGenerator[bytes, None], every_s: float = HEARTBEAT_S
) -> AsyncGenerator[bytes, None]:
    """Pass events on, with a comment whenever none came for `every_s`; closing this closes `events`."""
    async with aclosing(events):
        waiting: asyncio.Future[bytes] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(_next(events))
                done, _ = await asyncio.wait([waiting], timeout=every_s)
                if not done:
                    yield HEARTBEAT
                    continue
                finished, waiting = waiting, None
                try:
                    chunk = finished.result()
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.wait([waiting])


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)
