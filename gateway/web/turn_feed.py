"""One turn for the page: it runs in a task of its own, keeps the history, and gives out server-sent events.

`run_turn` is the same as on every surface; what is added here is only what the page shows. A reader that vanishes ends
the turn (its closing record and the history are written all the same).
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import structlog
from anyio import CancelScope

from gateway.database import unreachable
from gateway.history.records import OpenedTurn
from gateway.history.store import HistoryStore
from gateway.http.sse import event as sse_event
from gateway.problem_documents import problem
from gateway.problems import AttestError, DatabaseUnavailableError
from gateway.turn import TurnService
from gateway.turn_events import Outcome, TextReleased, TurnEnded, TurnEvent, TurnRequest, TurnStarted
from gateway.turn_log import CLOSING_TRIES
from gateway.web.markdown import LiveMarkdown
from gateway.web.pages import View

SAVE_EVERY_S = 2.0
"""How often the text of a running answer goes to the history, so that a crash loses little of the view."""
CLOSING_S = 5.0
"""How long the reader of a turn that failed waits for the history to take its end."""
UNREAD = 8
THREAD_CHARS = 2000
"""Longer texts are rendered in a thread, so that one person's answer does not hold up everybody else's."""
_encode = msgspec.json.Encoder().encode


class StartedData(msgspec.Struct, frozen=True):
    """Data of the event `started`."""

    turn_id: str
    message_id: str
    user_message_id: str
    message_redacted: bool


class ReleasedData(msgspec.Struct, frozen=True):
    """Data of the event `released`: the text, and as HTML the pieces that replace all after the first `keep`."""

    text: str
    keep: int
    pieces: tuple[str, ...] | None
    """None: the view stays as it is for now, because showing this text costs much; it comes with a later event."""


class EndedData(msgspec.Struct, frozen=True):
    """Data of the event `ended`."""

    turn: TurnEnded
    message_id: str
    user_message_id: str
    title: str
    """The conversation's title now."""
    notice: str
    """Title of the notice, where the turn did not end as usual."""
    footer: str
    """HTML of what stands below the answer."""


class TurnFeed:
    """Drives one turn and gives out its events, encoded. `open`, then `events` once; `close` always."""

    def __init__(
        self, turns: TurnService, history: HistoryStore, view: View, request: TurnRequest, *, replaces: str = ""
    ) -> None:
        self._turns = turns
        self._history = history
        self._view = view
        self._request = request
        self._replaces = replaces
        self._queue: asyncio.Queue[bytes | AttestError | None] = asyncio.Queue(UNREAD)
        self._task: asyncio.Task[None] | None = None
        self._first: bytes | None = None
        self._opened: OpenedTurn | None = None
        self._turn_id = ""
        self._live = LiveMarkdown(view.markdown)
        self._texts: list[str] = []
        self._ended = False
        self._end_seen: TurnEnded | None = None
        self._unshown = False
        self._render_at = 0.0
        self._began = self._saved = time.monotonic()

    async def open(self) -> None:
        """Start the turn and wait for its first event. Raises the `AttestError` of a turn that was refused."""
        self._task = asyncio.create_task(self._drive())
        try:
            first = await self._queue.get()
        except BaseException:
            await self.close()
            raise
        if isinstance(first, AttestError):
            await self.close()
            raise first
        self._first = first

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield the events; the last one is `ended` or `problem`."""
        item: bytes | AttestError | None = self._first
        while item is not None:
            yield item if isinstance(item, bytes) else sse_event("problem", _encode(problem(item)))
            item = await self._queue.get()

    async def close(self) -> None:
        """End the turn if it still runs, and wait until its record and history are written."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([self._task])

    async def _drive(self) -> None:
        last: AttestError | None = None
        try:
            async with aclosing(self._turns.run(self._request)) as events:
                async for event in events:
                    await self._queue.put(await self._take(event))
        except AttestError as error:
            last = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the person is told and the history is closed
            structlog.get_logger("attest.page").error("turn_feed.failed", error=type(error).__name__)
            kind = DatabaseUnavailableError if unreachable(error) else AttestError
            last = kind(turn_id=self._turn_id)
        finally:
            with CancelScope(shield=True):
                await self._close_history(failed=last is not None)
        if last is not None:
            await self._queue.put(last)
        await self._queue.put(None)

    async def _take(self, event: TurnEvent) -> bytes:
        if isinstance(event, TurnStarted):
            return await self._started(event)
        if isinstance(event, TextReleased):
            return await self._released(event)
        return await self._end(event)

    async def _started(self, event: TurnStarted) -> bytes:
        opened = await self._open_history(event.turn_id, redacted=event.message_redacted)
        data = StartedData(event.turn_id, opened.answer, opened.user_message, event.message_redacted)
        return sse_event("started", _encode(data))

    async def _released(self, event: TextReleased) -> bytes:
        self._texts.append(event.text)
        self._live.add(event.text)
        self._unshown = True
        kept, pieces = await self._render() if time.monotonic() >= self._render_at else (0, None)
        if self._opened is not None and time.monotonic() - self._saved > SAVE_EVERY_S:
            await self._history.save_text(self._opened.answer, "".join(self._texts))
            self._saved = time.monotonic()
        return sse_event("released", _encode(ReleasedData(event.text, kept, pieces)))

    async def _render(self) -> tuple[int, tuple[str, ...]]:
        began = time.monotonic()
        costly = self._live.open_characters > THREAD_CHARS
        rendered = await asyncio.to_thread(self._live.render) if costly else self._live.render()
        now = time.monotonic()
        # Some texts (a thousand opening brackets) are slow to parse: they are shown at a tenth of the time.
        self._render_at = now + 10 * (now - began) if costly else now
        self._unshown = False
        return rendered

    async def _end(self, event: TurnEnded) -> bytes:
        rest = b""
        if self._unshown:
            kept, pieces = await self._render()
            rest = sse_event("released", _encode(ReleasedData("", kept, pieces)))
        self._end_seen = event
        opened = self._opened or await self._open_history(event.turn_id)
        title = await self._history.end_turn(self._request.conversation_id, opened, "".join(self._texts), event)
        self._ended = True
        stored = await self._history.message(self._request.principal.subject, opened.answer)
        shown = self._view.message(stored, last=True) if stored is not None else None
        data = EndedData(
            turn=event,
            message_id=opened.answer,
            user_message_id=opened.user_message,
            title=title,
            notice=shown.notice.title if shown is not None and shown.notice is not None else "",
            footer=str(self._view.footer(shown)) if shown is not None else "",
        )
        return rest + sse_event("ended", _encode(data))

    async def _open_history(self, turn_id: str, *, redacted: bool = False) -> OpenedTurn:
        self._turn_id = turn_id
        self._opened = await self._history.begin_turn(
            self._request.conversation_id,
            turn_id,
            self._request.messages[-1].content,
            redacted=redacted,
            replaces=self._replaces,
        )
        return self._opened

    async def _close_history(self, *, failed: bool) -> None:
        """Keep what was delivered of a turn whose end is not in the history yet.

        Raises nothing, and ends in time: the reader waits for what comes after it. What the history does not take now
        is left to a task of its own.
        """
        if self._opened is None or self._ended:
            return
        ended = self._end_seen or TurnEnded(
            turn_id=self._turn_id,
            outcome=Outcome.ABORTED,
            reason="failed" if failed else "client_gone",
            duration_ms=int((time.monotonic() - self._began) * 1000),
        )
        if not await self._in_history(self._opened, ended):
            closing = asyncio.create_task(self._close_later(self._opened, ended))
            self._turns.closings.add(closing)
            closing.add_done_callback(self._turns.closings.discard)

    async def _in_history(self, opened: OpenedTurn, ended: TurnEnded) -> bool:
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._history.end_turn(self._request.conversation_id, opened, "".join(self._texts), ended)
        except Exception:  # noqa: BLE001 - whatever it is, it is tried again; once that was in vain, it is told
            return False
        return True

    async def _close_later(self, opened: OpenedTurn, ended: TurnEnded) -> None:
        for _ in range(CLOSING_TRIES):
            await asyncio.sleep(1)
            if await self._in_history(opened, ended):
                return
        structlog.get_logger("attest.page").error("turn_feed.not_closed")
