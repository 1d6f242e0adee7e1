"""Turns taken out of the log: on record before the first byte leaves, and again when the last one has."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
from anyio import CancelScope

from audit.ports import AuditLog
from audit.record import Kind
from audit.search.export import Chosen, Format, TurnExport
from audit.search.query import TurnQuery
from gateway.ending.watch import AccessWatch, Watched
from gateway.identifiers import uuid7
from gateway.inquiry.desk import plainly
from gateway.inquiry.officer import AccessRecords, Detail, Officer, access_entry
from gateway.inquiry.permission import ReadingPermission
from gateway.problems import AttestError, OverloadedError, UnauthenticatedError

AT_ONCE = 2
"""Exports that run at the same time in one gateway."""
MEDIA = {
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.BUNDLE: "application/zip",
}
_CHUNK = 2**18


class ExportOrder(msgspec.Struct, frozen=True):
    """What is to be exported."""

    query: TurnQuery
    format: Format = Format.NDJSON
    content: bool = False
    """With texts."""
    chosen: Chosen | None = None
    """These turns, instead of those that the query finds."""
    case_id: str = ""
    """The case that they were collected in."""


class Export(msgspec.Struct, frozen=True):
    """An export that is on record and may begin."""

    id: str
    format: Format
    chunks: AsyncGenerator[bytes, None]
    close: Callable[[], Awaitable[None]]
    """Await it in the end, whatever happens, also when no chunk was taken."""


class Exports:
    """Makes exports. Raises the errors of `gateway.problems`."""

    def __init__(
        self, log: AuditLog, export: TurnExport, folder: Path, permission: ReadingPermission, watch: AccessWatch
    ) -> None:
        """`folder` is where bundles lie while they are made and sent: only we may read it."""
        self._permission = permission
        self._watch = watch
        self._export = export
        self._access = AccessRecords(log)
        self._folder = folder
        self._running = 0

    async def begin(self, officer: Officer, order: ExportOrder) -> Export:
        """Put the export on record and return it; a bundle is whole then, streams are made while they are sent."""
        with plainly():
            order.query.checked()
            if order.content or order.query.text:
                await self._permission.check(officer)
        if self._running >= AT_ONCE:
            raise OverloadedError("Other exports are running; try again when they are done.", retry_after=30)
        self._running += 1
        running = contextlib.ExitStack()
        running.callback(self._ended)
        with contextlib.ExitStack() as undo:
            undo.callback(running.close)
            export_id = uuid7()
            about: Detail = {"export_id": export_id, "format": order.format.value, "content": order.content}
            about |= order.query.filters()
            if order.chosen is not None:
                about |= {"chosen": len(order.chosen.turn_ids), "case_id": order.case_id}
            await self._access.append(
                access_entry(officer, Kind.ACCESS_EXPORT, about | {"state": "started"}, query=order.query.text)
            )
            if order.format is Format.BUNDLE:
                chunks = self._sent(await self._bundle(running, officer, order, about), running, officer)
            else:
                chunks = self._streamed(running, officer, order, about)
            undo.pop_all()
        return Export(export_id, order.format, chunks, _closer(running))

    def _ended(self) -> None:
        self._running -= 1

    async def _bundle(self, running: contextlib.ExitStack, officer: Officer, order: ExportOrder, about: Detail) -> Path:
        """Write a bundle; it is on record with its size before anything of it is sent."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        running.callback(shutil.rmtree, folder, ignore_errors=True)
        target = folder / "bundle.zip"
        with plainly():
            records = await self._export.bundle(order.chosen or order.query, target, content=order.content)
        detail = about | {"state": "complete", "records": records}
        await self._access.append(access_entry(officer, Kind.ACCESS_EXPORT, detail))
        return target

    async def _sent(self, path: Path, running: contextlib.ExitStack, officer: Officer) -> AsyncGenerator[bytes, None]:
        with running, self._watched(officer) as watched, path.open("rb") as file:
            while data := await asyncio.to_thread(file.read, _CHUNK):
                watched.check()
                yield data

    def _watched(self, officer: Officer) -> contextlib.AbstractContextManager[Watched]:
        if officer.principal is None:
            raise UnauthenticatedError
        return self._watch.over(officer.principal)

    async def _streamed(
        self, running: contextlib.ExitStack, officer: Officer, order: ExportOrder, about: Detail
    ) -> AsyncGenerator[bytes, None]:
        turns, state = 0, "broken_off"
        parts = self._export.stream(order.chosen or order.query, order.format, content=order.content)
        with running, self._watched(officer) as watched:
            try:
                async with aclosing(parts):
                    async for part in parts:
                        watched.check()
                        turns += part.turns
                        yield part.data
                state = "complete"
            finally:
                with CancelScope(shield=True), contextlib.suppress(AttestError):
                    detail = about | {"state": state, "turns": turns}
                    await self._access.append(access_entry(officer, Kind.ACCESS_EXPORT, detail))


def _closer(running: contextlib.ExitStack) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        await asyncio.to_thread(running.close)

    return close
