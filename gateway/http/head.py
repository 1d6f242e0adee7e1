"""Bounds on what comes before an answer: uvicorn reads headers of any length, and waits for a request without end.

Nobody is signed in while a head is read, so whoever reaches the port could take the gateway's memory with one, or its
connections with bodies that never come.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 65_536
"""Bytes of a request line and headers, and of whatever else of a request is no body. Browsers send 16 KB at most."""
FRAMED = 8
"""Bytes around a byte of a body in chunks, at most: a chunk of one byte has six."""
HEAD_S = 30.0
"""Seconds from a connection's beginning, or a request's first byte or an empty line before it, to the end of its head.
While an answer is under way nobody waits for the next head."""
BODY_S = 60.0
LEAST_BODY = 30_000
"""Bytes of a body that come in `BODY_S` seconds at least, 500 a second, unless it ends. Nobody waits for them while the
server does not read, or an answer is under way."""
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class _TooLongError(Exception):
    """The head is longer than it may be; ends the parser."""


class BoundedHead(HttpToolsProtocol):
    """One connection. Answers 431 to a head that is too long, and closes on one, or a body, that does not come."""

    _open = False
    """Whether a request has begun and its end was not read yet."""
    _begun = 0
    """How many requests have begun."""
    _head = _fed = _body = 0
    """Of the last one: bytes of line and headers, bytes that came after its first piece, bytes of its body."""
    _seen = 0
    """Bytes of its body when the time for more of them began."""
    _too_long = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._have()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what grows without being a body."""
        if self._too_long:
            return
        open_before, begun = self._open, self._begun
        super().data_received(data)
        # What comes with a request's first byte is not its own alone: it may end the one before, with all of its body.
        self._fed += len(data) if open_before and self._open and self._begun == begun else 0
        if self._fed > LONGEST_HEAD + (1 + FRAMED) * self._body and not self._too_long:
            self._refuse()
        # An empty line begins no request, yet uvicorn has waited for one no longer since it came.
        if self._open:
            self._wait_for_body()
        elif not self._answering():
            self._wait()

    def on_message_begin(self) -> None:
        """Begin to count, and to wait for the head's end."""
        super().on_message_begin()
        self._begun += 1
        self._open, self._head, self._fed, self._body = True, 0, 0, 0
        self._wait()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Go on with the body."""
        self._have()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; how long it may be is `BodyLimit`'s."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._open = False
        self._have()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer to what cannot be parsed."""
        if not self._too_long:
            super().send_400_response(msg)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > LONGEST_HEAD:
            self._refuse()
            raise _TooLongError

    def _refuse(self) -> None:
        self._too_long = True
        self._have()
        self.transport.write(_REFUSAL)
        self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._late)

    def _late(self) -> None:
        self._deadline = None
        if self._answering():
            self._wait()
        else:
            self.transport.close()

    def _wait_for_body(self) -> None:
        """Wait for more of a body; as long as the head is not there that is waited for."""
        if self._deadline is None:
            self._seen, self._deadline = self._body, self.loop.call_later(BODY_S, self._late_body)

    def _late_body(self) -> None:
        self._deadline = None
        sending = self._answering() and self.cycle.response_started
        # Behind an answer, or where the application has not taken what came: not for the client to hurry.
        if self._body - self._seen >= LEAST_BODY or sending or self.pipeline or self.flow.read_paused:
            self._wait_for_body()
        else:
            self.transport.close()

    def _have(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
