"""A TCP proxy before a real server whose connections a test silences: as where a host lost its power or its network.

Those that are open then hear nothing any more, not even that they end; new ones reach the server.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class SilentProxy:
    """`async with SilentProxy(port) as proxy`: passes on what is sent to `proxy.port`, until `silence`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._silences = 0
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    def silence(self) -> None:
        """Let every connection that is open now hear nothing any more."""
        self._silences += 1

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, to_server]
        for source, sink in ((reader, to_server), (from_server, writer)):
            pump = asyncio.create_task(self._pass_on(source, sink, self._silences))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, silences: int) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if silences == self._silences:
                    sink.write(data)
                    await sink.drain()
        if silences == self._silences:
            sink.close()
