"""Turns taken out of the log: NDJSON and CSV as a stream, a bundle with proofs as a file. Memory stays flat."""

import asyncio
import contextlib
import csv
import io
import time
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.bundle.export import BundleExport, BundleOrder, NothingSignedError
from audit.canonical import column
from audit.keys import MasterKey
from audit.ports import AuditIntegrityError, AuditUnavailableError, TurnSummary, TurnTrail
from audit.readers import Readers
from audit.search.ports import ALTERED
from audit.search.query import TurnQuery
from audit.search.reading import reading
from audit.search.shown import ShownTurn, shown, to_json
from audit.search.sql import SqlTurnSearch
from audit.sequence import newest_waiting
from audit.signing import SigningKeyError, SigningKeys
from audit.tables import AUDIT_ENTRY

AT_ONCE = 50
"""Turns in memory at the same time, with their texts."""
AT_ONCE_WITHOUT_TEXTS = 250
SIGNED_WITHIN_S = 10.0
"""Longest that a bundle of chosen turns waits for the places of records that are there when it is asked for."""
_LOOK_AGAIN_S = 0.1
_TEXTS = ("message", "generated", "withheld", "delivered")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_BYTE_ORDER_MARK = "\ufeff".encode()


class Format(StrEnum):
    """What an export looks like."""

    NDJSON = "ndjson"
    CSV = "csv"
    BUNDLE = "bundle"


class Chosen(msgspec.Struct, frozen=True):
    """Turns that somebody picked, instead of a query."""

    turn_ids: tuple[str, ...]
    """As columns hold them."""


class Part(msgspec.Struct, frozen=True):
    """A piece of a streamed export."""

    data: bytes
    turns: int
    """Turns in this piece."""


class TurnExport:
    """Exports from the log itself, never from a copy. Raises `AuditUnavailableError`, `AuditIntegrityError`."""

    def __init__(
        self,
        engine: AsyncEngine,
        master: MasterKey,
        keys: SigningKeys,
        sign: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`sign` has whoever sequences the log do so now; without it a bundle waits until they do by themselves."""
        self._sign = sign
        self._engine = engine
        self._search = SqlTurnSearch(engine, master)
        self._readers = Readers(engine, master)
        self._master = master
        self._keys = keys

    async def stream(self, query: TurnQuery | Chosen, wanted: Format, *, content: bool) -> AsyncGenerator[Part, None]:
        """Yield an export as NDJSON (one `ShownTurn` a line) or CSV, in the order of the query, or as chosen.

        A turn with a record that was altered is one line that says so.
        """
        if wanted is Format.CSV:
            yield Part(_BYTE_ORDER_MARK + _csv([header(content=content)]), 0)
        async for page in self._pages(query, AT_ONCE if content else AT_ONCE_WITHOUT_TEXTS):
            if content or wanted is Format.NDJSON:
                turns = await self._read(page, content=content)
                written = _ndjson if wanted is Format.NDJSON else _csv_of
                yield Part(await asyncio.to_thread(written, turns), len(turns))
            else:
                listed = await self._search.listed(page)
                yield Part(_csv([summary_cells(summary) for summary in listed]), len(listed))

    async def bundle(
        self, query: TurnQuery | Chosen, target: Path, *, content: bool, continues: Sequence[int] = ()
    ) -> int:
        """Write a bundle of the records of the turns found, or of the whole log where nothing filters.

        Every record of theirs that is there when this begins is in it. `continues`: sizes of checkpoints that the
        receiver holds. Returns how many records it has. Raises `OSError`, too, also when `target` is there already,
        and `NothingSignedError` when what is there does not get its place soon enough.
        """
        try:
            signers = await asyncio.to_thread(self._keys.load)
        except SigningKeyError as error:
            raise AuditUnavailableError(str(error)) from error
        narrowed = isinstance(query, Chosen) or query.filters() or query.text
        if narrowed:
            await self._all_signed()
        chosen = self._places(query) if narrowed else None
        bundles = BundleExport(self._engine, signers, self._master)
        return (await bundles.write(target, BundleOrder(texts=content, continues=tuple(continues)), chosen)).records

    async def _all_signed(self) -> None:
        """Wait until all records that are there now have their place: a turn of which half is left out is no proof."""
        async with reading(self._engine) as connection:
            last = await newest_waiting(connection)
        if last is None:
            return
        until = time.monotonic() + SIGNED_WITHIN_S
        if self._sign is not None:
            with contextlib.suppress(TimeoutError):  # a long backlog
                async with asyncio.timeout(SIGNED_WITHIN_S):
                    await self._sign()
        place = select(AUDIT_ENTRY.c.leaf_index).where(AUDIT_ENTRY.c.entry_id == last)
        while True:
            async with reading(self._engine) as connection:
                if (await connection.execute(place)).scalar() is not None:
                    return
            if time.monotonic() >= until:
                raise NothingSignedError("The newest records are not signed yet; try again in a moment.")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _pages(self, query: TurnQuery | Chosen, at_once: int) -> AsyncIterator[tuple[str, ...]]:
        """Yield the turns' ids, as columns hold them, so many at once."""
        if isinstance(query, Chosen):
            for first in range(0, len(query.turn_ids), at_once):
                yield query.turn_ids[first : first + at_once]
            return
        after = None
        while True:
            found = await self._search.positions(query, after, at_once)
            if found.found:
                yield tuple(position.id for position in found.found)
            after = found.reached
            if after is None:
                return

    async def _read(self, page: Sequence[str], *, content: bool) -> tuple[ShownTurn, ...]:
        """Return turns in order; those that cannot be read at once are looked at one by one."""
        try:
            trails = await self._readers.trails(page, dialogues=content)
        except AuditIntegrityError:
            trails = {}
        found = {turn_id: shown(trail, content=content) for turn_id, trail in trails.items()}
        left = [turn_id for turn_id in page if turn_id not in found]
        for summary in await self._search.listed(left):
            if summary.reason == ALTERED:
                found[summary.turn_id] = ShownTurn(summary, ())
            else:
                alone = await self._alone(summary.turn_id, content=content)
                found[column(summary.turn_id)] = _line(summary, alone, content=content)
        return tuple(found[turn_id] for turn_id in page if turn_id in found)

    async def _alone(self, turn_id: str, *, content: bool) -> dict[str, TurnTrail]:
        try:
            return await self._readers.trails((turn_id,), dialogues=content)
        except AuditIntegrityError:
            return {}

    async def _places(self, query: TurnQuery | Chosen) -> AsyncIterator[int]:
        """Yield the places in the log of every record of the turns found, rising."""
        places = array("q")
        entry = AUDIT_ENTRY.c
        async for page in self._pages(query, AT_ONCE_WITHOUT_TEXTS):
            of_turns = select(entry.leaf_index).where(entry.turn_id.in_(page), entry.leaf_index.is_not(None))
            async with self._engine.connect() as connection:
                places.extend((await connection.execute(of_turns)).scalars())
        for place in sorted(places):
            yield place


def _line(summary: TurnSummary, trails: dict[str, TurnTrail], *, content: bool) -> ShownTurn:
    trail = trails.get(summary.turn_id)
    if trail is None:
        return ShownTurn(msgspec.structs.replace(summary, reason=ALTERED), ())
    return shown(trail, content=content)


def header(*, content: bool) -> list[str]:
    """Return the first row of a CSV export."""
    return [*TurnSummary.__struct_fields__, *(_TEXTS if content else ())]


def summary_cells(summary: TurnSummary) -> list[str]:
    """Return the cells of a turn without its texts."""
    values = msgspec.to_builtins(summary)
    return [", ".join(value) if isinstance(value, list | tuple) else str(value) for value in values.values()]


def cells(turn: ShownTurn) -> list[str]:
    """Return the cells of a turn with its texts; empty ones where it could not be read."""
    return [*summary_cells(turn.turn), *(getattr(turn.content, name, "") for name in _TEXTS)]


def _ndjson(turns: Sequence[ShownTurn]) -> bytes:
    return b"".join(to_json(turn) + b"\n" for turn in turns)


def _csv_of(turns: Sequence[ShownTurn]) -> bytes:
    return _csv([cells(turn) for turn in turns])


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Return rows as RFC 4180 has them; an apostrophe stands before what a spreadsheet would run as a formula."""
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(
        [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows
    )
    return written.getvalue().encode("utf-8", "replace")
