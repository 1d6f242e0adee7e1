"""A lean HTTP client for loads: one keep-alive connection, requests built before the clock starts."""

import asyncio
import json
import time
from dataclasses import dataclass

from tests.bench.texts import prompt


@dataclass(frozen=True)
class Answer:
    """One turn as the client saw it. Times in seconds from the first byte sent; `first` is the first text shown."""

    status: int
    total: float
    first: float
    first_at: float
    """Monotonic time at which the first text came."""
    blocked: bool


@dataclass(frozen=True)
class Target:
    """Whom to ask, and how."""

    host: str
    port: int
    token: str
    lang: str
    stream: bool

    def request(self, number: int) -> bytes:
        """Build request `number`: HTTP/1.1, bearer auth, one user message."""
        body = json.dumps(
            {
                "model": f"bench-{self.lang}",
                "stream": self.stream,
                "messages": [{"role": "user", "content": prompt(self.lang, number)}],
            },
            ensure_ascii=False,
        ).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            f"authorization: Bearer {self.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection:
    """One connection to a target, opened anew when the server closed it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send one request and read the whole answer."""
        if self._streams is not None and self._streams[0].at_eof():  # it was idle for too long
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._target.host, self._target.port)
        reader, writer = self._streams
        start = time.monotonic()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        body, first_at = await _body(reader, head)
        end = time.monotonic()
        if b"connection: close" in head:
            await self.close()
        return Answer(status, end - start, (first_at or end) - start, first_at or end, b"content_filter" in body)

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, head: bytes) -> tuple[bytes, float]:
    if b"transfer-encoding: chunked" not in head:
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return await reader.readexactly(length), 0.0
    parts: list[bytes] = []
    first_at = 0.0
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        if not first_at and _has_text(parts[-1]):
            first_at = time.monotonic()
        await reader.readexactly(2)
    await reader.readline()
    return b"".join(parts), first_at


def _has_text(chunk: bytes) -> bool:
    return b'"content":"' in chunk and b'"content":""' not in chunk
