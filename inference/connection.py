"""The client at the other end: its body may come slowly, it may go while it waits, it may stop reading."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from inference.errors import RequestRefusedError

BODY_WAIT_S = 30.0
"""Longest wait for a request's body."""
READ_WAIT_S = 60.0
"""Longest wait for a client to read what was sent; after that the connection is given up."""

T = TypeVar("T")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class StalledClients:
    """ASGI middleware that gives a response up whose client does not read it; its generation ends with it.

    One timer for a response, not one for each event: a stalled client is noticed after one to two waits.
    """

    def __init__(self, app: ASGIApp, wait_s: float = READ_WAIT_S) -> None:
        self._app = app
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises TimeoutError when the client does not read."""
        loop, sending, noticed = asyncio.get_running_loop(), 0, 0
        stuck = asyncio.timeout(None)
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal noticed, timer
            if sending and sending == noticed:
                stuck.reschedule(loop.time())
                return
            noticed = sending
            timer = loop.call_later(self._wait_s, look)

        sent = 0

        async def watched(message: Message) -> None:
            nonlocal sending, sent
            sent += 1
            sending = sent
            await send(message)
            sending = 0

        timer = loop.call_later(self._wait_s, look)
        try:
            async with stuck:
                await self._app(scope, receive, watched)
        finally:
            if timer is not None:
                timer.cancel()


async def unless_gone(request: Request[None, None, State], work: Coroutine[Any, Any, T]) -> T:
    """Do the work, but give it up when the client goes, so that nobody's answer holds a place in the batch."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request[None, None, State]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request[None, None, State]) -> bytes:
    """Return a body of JSON. Raises `RequestRefusedError` or `ClientGoneError`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestRefusedError("Send application/json.", code="unsupported_media_type", status=415)
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            return await request.body()
    except TimeoutError:
        raise RequestRefusedError("The body did not arrive in time.", code="timeout", status=408) from None
    except InternalServerException:
        raise ClientGoneError from None  # so Litestar calls a client that goes while it sends
