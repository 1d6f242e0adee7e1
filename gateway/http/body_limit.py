"""Bodies that announce to be too large: read away, then answered, so that the client sees the answer.

A server that answers and closes while the client still sends makes most clients report a broken pipe instead.
Bodies of unannounced length are held to the same limit by the framework while they are read.
"""

import asyncio

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.problems import TooLargeError

DRAINED_BYTES = 16 * 2**20
"""Most that is read away; a client that announces more is cut off."""
DRAIN_S = 10.0


class BodyLimit(ASGIMiddleware):
    """Refuses a body whose `Content-Length` is over the limit."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, or raise `TooLargeError`."""
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and (length := int(announced)) > self._limit:
            if length <= DRAINED_BYTES:
                await _read_away(receive)
            raise TooLargeError(f"The body is larger than {self._limit} bytes.")
        await next_app(scope, receive, send)


async def _read_away(receive: Receive) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            while True:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
