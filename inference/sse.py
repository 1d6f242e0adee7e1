"""Reading server-sent events from a peer that is not trusted: every buffer has a bound.

Only what OpenAI's API uses of the HTML standard's event streams is read: `data` fields; an event ends at an empty line.
"""

from collections.abc import AsyncIterator, Iterator


class EventTooLargeError(Exception):
    """The peer sent an event larger than the bound."""


class EventParser:
    """Bytes in, the data of complete events out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of every event that this chunk completes. Raises `EventTooLargeError`."""
        lines = (self._rest + chunk if self._rest else chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))
        if len(self._rest) + self._size > self._limit:
            raise EventTooLargeError

    def _line(self, line: bytes) -> Iterator[bytes]:
        if not line:
            if self._data:
                event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data, self._size = [], 0
                yield event
        elif line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            # A line of no length still costs memory in the list, so it counts as one byte.
            self._size += len(value) + 1
            if self._size > self._limit:
                raise EventTooLargeError
            self._data.append(value)


async def events(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield the data of each event of a byte stream. Raises `EventTooLargeError`."""
    parser = EventParser(limit)
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
