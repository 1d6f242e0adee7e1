"""Cases: opened with a number and a purpose, closed in the end. Each change and its record are one transaction.

A note's text is content: it goes into the audit log as a record of its own, encrypted, and the table keeps its id.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us
from audit.hold import check_case
from audit.ports import AuditLog
from audit.readers import Readers
from audit.record import Content, Entry, Kind
from audit.tables import AUDIT_TURN
from gateway.cases.tables import CASE, CASE_NOTE, CASE_TURN

MOST_TURNS = 5000
"""Turns that one case may collect."""
MOST_AT_ONCE = 200
LONGEST_NOTE = 10_000


class Case(msgspec.Struct, frozen=True):
    """A case; times in microseconds since 1970 UTC."""

    case_id: str
    number: str
    purpose: str
    opened_by: str
    opened_us: int
    closed_by: str = ""
    closed_us: int | None = None
    turns: int = 0

    @property
    def is_open(self) -> bool:
        """Whether texts may still be opened for it."""
        return self.closed_us is None


class Note(msgspec.Struct, frozen=True):
    """A note; its text is empty once its author was erased."""

    author: str
    at_us: int
    text: str


class Cases:
    """Opens, fills and closes cases. Raises `GoverningError` for what cannot be, `AuditUnavailableError`."""

    def __init__(self, governor: Governor, log: AuditLog, readers: Readers) -> None:
        self._governor = governor
        self._log = log
        self._readers = readers

    async def open(self, number: str, purpose: str, by: str) -> Case:
        """Open a case; its number is new."""
        number, purpose = number.strip(), purpose.strip()
        check_case(number, purpose)
        case = Case(self._governor.new_id(), number, purpose, by, now_us())
        values = {name: getattr(case, name) for name in ("case_id", "number", "purpose", "opened_by", "opened_us")}
        async with self._governor.transaction() as connection:
            try:
                await connection.execute(insert(CASE).values(**values))
            except IntegrityError:
                raise GoverningError("There is a case with this number already.") from None
            await self._record(connection, Kind.CASE_OPENED, case, by, case.opened_us, purpose=purpose)
        return case

    async def close(self, case_id: str, by: str) -> None:
        """Close a case: from now on no text is opened for it; what it holds stays."""
        async with self._governor.transaction() as connection:
            case, at = await self._open_one(connection, case_id), now_us()
            changed = update(CASE).where(CASE.c.case_id == case_id).values(closed_by=by, closed_us=at)
            await connection.execute(changed)
            await self._record(connection, Kind.CASE_CLOSED, case, by, at)

    async def collect(self, case_id: str, turn_ids: Sequence[str], by: str) -> int:
        """Add turns; those that it has already stay as they are. Return how many are new.

        Raises `UnknownError` when any of them is no turn; then none is added.
        """
        if not 0 < len(turn_ids) <= MOST_AT_ONCE:
            raise GoverningError(f"Choose 1 to {MOST_AT_ONCE} turns.")
        async with self._governor.transaction() as connection:
            case, at = await self._open_one(connection, case_id), now_us()
            held = select(CASE_TURN.c.turn_id).where(CASE_TURN.c.case_id == case_id)
            present = set((await connection.execute(held)).scalars())
            new = [one for one in dict.fromkeys(map(column, turn_ids)) if one not in present]
            if len(present) + len(new) > MOST_TURNS:
                raise GoverningError(f"A case holds at most {MOST_TURNS} turns.")
            if await _kept(connection, new) < len(new):
                raise UnknownError("There is no such turn, or its records are no longer kept.")
            if new:
                common = {"case_id": case_id, "added_by": by, "added_us": at}
                await connection.execute(insert(CASE_TURN), [{**common, "turn_id": one} for one in new])
                await self._record(
                    connection, Kind.CASE_COLLECTED, case, by, at, turns=len(new), turn_ids=",".join(new)
                )
        return len(new)

    async def note(self, case_id: str, text: str, by: str) -> None:
        """Add a note: durable in the log before it stands in the case."""
        text = text.strip()
        if not 0 < len(text) <= LONGEST_NOTE:
            raise GoverningError(f"A note has 1 to {LONGEST_NOTE} characters.")
        async with self._governor.reading() as connection:
            case = await self._open_one(connection, case_id)
        at = now_us()
        receipts = await self._log.append(
            Entry(
                kind=Kind.CASE_NOTED,
                at=moment(at),
                subject=by,
                detail={"case_id": case_id, "case_number": case.number},
                contents=(Content("note", "officer", text),),
            )
        )
        async with self._governor.transaction() as connection:
            values = {"entry_id": receipts[0].entry_id, "case_id": case_id, "author": by, "at_us": at}
            await connection.execute(insert(CASE_NOTE).values(**values))

    async def listed(self, *, closed: bool = False) -> tuple[Case, ...]:
        """Return the cases that are open, newest first; with `closed` all that ever were."""
        counted = select(CASE_TURN.c.case_id, func.count().label("turns")).group_by(CASE_TURN.c.case_id).subquery()
        query = (
            select(CASE, func.coalesce(counted.c.turns, 0).label("turns"))
            .outerjoin(counted, counted.c.case_id == CASE.c.case_id)
            .order_by(CASE.c.opened_us.desc(), CASE.c.case_id.desc())
        )
        if not closed:
            query = query.where(CASE.c.closed_us.is_(None))
        async with self._governor.reading() as connection:
            return tuple(_case(row) for row in await connection.execute(query))

    async def case(self, case_id: str) -> Case | None:
        """Return one case."""
        async with self._governor.reading() as connection:
            row = (await connection.execute(select(CASE).where(CASE.c.case_id == case_id))).first()
        return _case(row) if row is not None else None

    async def turn_ids(self, case_id: str) -> tuple[str, ...]:
        """Return the turns of a case, as they were added; ids as columns hold them."""
        query = select(CASE_TURN.c.turn_id).where(CASE_TURN.c.case_id == case_id)
        async with self._governor.reading() as connection:
            ordered = query.order_by(CASE_TURN.c.added_us, CASE_TURN.c.turn_id)
            return tuple((await connection.execute(ordered)).scalars())

    async def kept_turn_ids(self, case_id: str) -> tuple[str, ...]:
        """Return the turns of a case of which the log has records still."""
        query = select(CASE_TURN.c.turn_id).join(AUDIT_TURN, AUDIT_TURN.c.turn_id == CASE_TURN.c.turn_id)
        async with self._governor.reading() as connection:
            rows = await connection.execute(query.where(CASE_TURN.c.case_id == case_id))
            return tuple(rows.scalars())

    async def notes(self, case_id: str) -> tuple[Note, ...]:
        """Return the notes of a case, oldest first."""
        query = select(CASE_NOTE).where(CASE_NOTE.c.case_id == case_id).order_by(CASE_NOTE.c.entry_id)
        async with self._governor.reading() as connection:
            rows = (await connection.execute(query)).all()
        texts = {row.entry_id: await self._readers.contents(row.entry_id) for row in rows}
        return tuple(Note(row.author, row.at_us, "".join(one.text for one in texts[row.entry_id])) for row in rows)

    async def _open_one(self, connection: AsyncConnection, case_id: str) -> Case:
        row = (await connection.execute(select(CASE).where(CASE.c.case_id == case_id))).first()
        if row is None:
            raise UnknownError("There is no such case.")
        if row.closed_us is not None:
            raise GoverningError("The case is closed.")
        return _case(row)

    async def _record(
        self, connection: AsyncConnection, kind: Kind, case: Case, by: str, at_us: int, **more: str | int
    ) -> None:
        detail: dict[str, str | int | float | bool] = {"case_id": case.case_id, "case_number": case.number, **more}
        await self._governor.record(connection, Entry(kind=kind, at=moment(at_us), subject=by, detail=detail))


async def is_closed(governor: Governor, number: str) -> bool:
    """Whether the case with this number was closed; one that was never opened here was not.

    Raises `AuditUnavailableError`.
    """
    query = select(CASE.c.closed_us).where(CASE.c.number == number.strip())
    async with governor.reading() as connection:
        return (await connection.execute(query)).scalar() is not None


async def _kept(connection: AsyncConnection, turn_ids: Sequence[str]) -> int:
    """Return how many of them the log knows."""
    query = select(func.count()).select_from(AUDIT_TURN).where(AUDIT_TURN.c.turn_id.in_(turn_ids))
    return int((await connection.execute(query)).scalar_one())


def _case(row: Row[tuple[object, ...]]) -> Case:
    return Case(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor
