"""Whether the client of a request is still there, before anything is sent to it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar.types import Receive

_T = TypeVar("_T")

CLIENT_GONE = 499
"""Status of what nobody reads any more; it stands in the request's log line, as that of other servers."""


class ClientGoneError(Exception):
    """The client has gone; what it asked for was cancelled."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
    """Carry out work, and cancel it when the client goes. Raises `ClientGoneError` then.

    The body must have been read: what comes after it is that the client goes.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
