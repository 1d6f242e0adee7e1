"""Servers that start beside the first tests, for the tests that ask for them later: a start is mostly waiting."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

Server = TypeVar("Server")


class EarlyServers:
    """Starts servers one after another in a thread, in the order in which they are begun; stops them at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._thread = ThreadPoolExecutor(1, "servers")
        self._starting: dict[str, Future[Any]] = {}

    def begin(self, name: str, server: AbstractContextManager[Any]) -> None:
        """Start a server in the background, unless it was begun before."""
        if name not in self._starting:
            self._starting[name] = self._thread.submit(self._stack.enter_context, server)

    def get(self, name: str, server: AbstractContextManager[Server]) -> Server:
        """Return a server once it is up. Raises what its start raised, for each test that asks."""
        self.begin(name, server)
        started: Server = self._starting[name].result()
        return started

    def close(self) -> None:
        """Stop whatever was started; what waits to be started is not."""
        self._thread.shutdown(cancel_futures=True)
        self._stack.close()
