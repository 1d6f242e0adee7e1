"""Erasing a person: the keys are destroyed and the texts removed; the records, which hold no text, stay and verify.

An erasure is asked for, then carried out at once unless a legal hold covers anything of the person: then it waits, and
is carried out when the hold is released. Its steps are one transaction with the record `subject.erased`; before it
commits, the ledger has it (`audit.ledger`), so that a restored database forgets again. Of somebody with many texts most
are removed after that: without the keys nobody reads them. What stands in a search store is removed then, too, and
looked for again until nothing has come late.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec
from sqlalchemy import Row, exists, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column
from audit.covered import KeptOfPerson, holds_on
from audit.emptying import empty, empty_some
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us
from audit.hold import Hold, check_case
from audit.ledger import ErasureLedger, LedgerLine
from audit.ports import AuditUnavailableError
from audit.record import Entry, Kind
from audit.tables import AUDIT_ENTRY, ERASURE, SUBJECT_KEY

SETTLED_US = 300_000_000
"""How long after the keys were destroyed a delivery that had read a text before may still bring it to the search store:
only after that the store counts as clean. Microseconds."""
OURS = frozenset({"attest"})
"""Subjects that are not people: their texts (policies that were in force) are evidence."""


class State(StrEnum):
    """How far an erasure is."""

    PENDING = "pending"
    """Asked for; nothing is erased yet, because a hold stands against it or the process ended."""
    DESTROYED = "destroyed"
    """Nothing can be read here any more; texts without a key are still being removed, or the search store cleaned."""
    DONE = "done"


class Erasure(msgspec.Struct, frozen=True):
    """One request and how far it is. Times are microseconds since 1970 UTC."""

    erasure_id: str
    subject: str
    case_number: str
    requested_by: str
    requested_us: int
    state: str
    done_us: int | None = None
    """When the keys were destroyed."""


class HeldError(GoverningError):
    """A legal hold stands against the erasure; it waits."""

    def __init__(self, erasure: Erasure, holds: Sequence[Hold]) -> None:
        cases = ", ".join(dict.fromkeys(f"{hold.case_number} ({hold.hold_id})" for hold in holds))
        super().__init__(f"A legal hold stands against it: {cases}. It is done when the hold is released.")
        self.erasure = erasure
        self.holds = tuple(holds)


class OwnData(KeptOfPerson, Protocol):
    """What other parts of the product keep of a person in the same database, and remove."""

    async def erase(self, connection: AsyncConnection, subject: str, before_us: int) -> int:
        """Remove what was kept of a person before a time, in this transaction; return how many rows."""

    async def has(self, connection: AsyncConnection, subject: str) -> bool:
        """Whether anything is kept of a person."""


class ContentElsewhere(Protocol):
    """A store outside the database that texts were delivered to."""

    async def erase(self, subject: str, before_us: int) -> int:
        """Remove the texts of a person's records before a time; return how many were found.

        Raises `audit.ports.AuditUnavailableError` when the store does not answer.
        """


class Erasures:
    """Asks for erasures, carries them out, and applies the ledger again."""

    def __init__(
        self,
        governor: Governor,
        ledger: ErasureLedger,
        own_data: Sequence[OwnData] = (),
        elsewhere: ContentElsewhere | None = None,
    ) -> None:
        self._governor = governor
        self._ledger = ledger
        self._own_data = own_data
        self._elsewhere = elsewhere

    async def check(self, subject: str, case_number: str) -> None:
        """Raise `GoverningError` when there is no such person, or the case has no number."""
        check_case(case_number)
        if subject in OURS:
            raise GoverningError(f"{subject} is not a person.")
        async with self._governor.reading() as connection:
            if not await self._known(connection, column(subject)):
                raise GoverningError("Nothing is kept of this person: look at how the subject is written.")

    async def request(
        self, subject: str, case_number: str, by: str, connection: AsyncConnection | None = None
    ) -> Erasure:
        """Write down that somebody is to be erased, in an open transaction or in one of its own; erases nothing yet."""
        if connection is None:
            async with self._governor.transaction() as own:
                return await self.request(subject, case_number, by, own)
        erasure = Erasure(self._governor.new_id(), column(subject), case_number, by, now_us(), State.PENDING.value)
        await connection.execute(insert(ERASURE).values(**msgspec.structs.asdict(erasure)))
        return erasure

    async def carry_out(self, erasure_id: str) -> Erasure:
        """Carry out an erasure that is pending; harmless when it is done already.

        Raises `HeldError`, `GoverningError` (no such erasure), `audit.ledger.LedgerError`, `AuditUnavailableError`.
        """
        async with self._governor.transaction() as connection:
            row = (await connection.execute(select(ERASURE).where(ERASURE.c.erasure_id == erasure_id))).first()
            if row is None:
                raise UnknownError(f"There is no erasure {erasure_id}.")
            erasure = _erasure(row)
            if erasure.state != State.PENDING:
                return erasure
            keys = await self._keys(connection, erasure.subject)
            erasure = await self._destroy(connection, erasure, keys, now_us())
        await self._scrub()
        try:
            return await self._clean(erasure)
        except AuditUnavailableError:
            return erasure  # its state says that something is still to be cleaned

    async def attempt(self, erasure: Erasure, by: str) -> Erasure:
        """Carry out an erasure that was just asked for or granted; a hold against it is recorded as a denial.

        Raises as `carry_out`.
        """
        try:
            return await self.carry_out(erasure.erasure_id)
        except HeldError as error:
            detail: dict[str, str | int | float | bool] = {
                "action": "erase",
                "erasure_id": erasure.erasure_id,
                "case_number": erasure.case_number,
                "hold_id": error.holds[0].hold_id,
            }
            async with self._governor.transaction() as connection:
                entry = Entry(kind=Kind.ACCESS_DENIED, at=moment(now_us()), subject=by, reason="held", detail=detail)
                await self._governor.record(connection, entry)
            raise

    async def carry_out_pending(self) -> tuple[Erasure, ...]:
        """Carry out what waits and is not held, and go on cleaning up after the others; return what changed.

        Raises `audit.ledger.LedgerError`, `AuditUnavailableError`.
        """
        changed = []
        for erasure in await self.listed(State.PENDING):
            try:
                changed.append(await self.carry_out(erasure.erasure_id))
            except HeldError:
                continue
        for erasure in await self.listed(State.DESTROYED):
            after = await self._clean(erasure)
            if after.state != erasure.state:
                changed.append(after)
        return tuple(changed)

    async def reapply(self) -> tuple[Erasure, ...]:
        """Erase again whoever the ledger names and the database knows again; return them.

        A hold in the database stands against it as ever: then the erasure waits. `carry_out_pending` does what is left.
        Raises `audit.ledger.LedgerError`, `AuditUnavailableError`.
        """
        again = []
        for line in await asyncio.to_thread(self._ledger.lines):
            async with self._governor.transaction() as connection:
                erasure = await self._again(connection, line)
            if erasure is not None:
                again.append(erasure)
        if again:
            await self._scrub()
        return tuple(again)

    async def listed(self, *states: State) -> tuple[Erasure, ...]:
        """Return erasures, oldest first; those in some states, or all."""
        query = select(ERASURE).order_by(ERASURE.c.requested_us, ERASURE.c.erasure_id)
        if states:
            query = query.where(ERASURE.c.state.in_([state.value for state in states]))
        async with self._governor.reading() as connection:
            return tuple(_erasure(row) for row in await connection.execute(query))

    async def _known(self, connection: AsyncConnection, subject: str) -> bool:
        entry, key = AUDIT_ENTRY.c, SUBJECT_KEY.c
        query = select(or_(exists().where(entry.subject == subject), exists().where(key.subject == subject)))
        if (await connection.execute(query)).scalar():
            return True
        return any([await part.has(connection, subject) for part in self._own_data])

    async def _keys(self, connection: AsyncConnection, subject: str) -> tuple[str, ...]:
        key = SUBJECT_KEY.c
        query = select(key.key_id).where(key.subject == subject, key.destroyed_us.is_(None))
        # FOR UPDATE: waits for writers that use the key, and they for us; then they see that it is destroyed.
        return tuple((await connection.execute(query.with_for_update())).scalars())

    async def _destroy(
        self, connection: AsyncConnection, erasure: Erasure, keys: tuple[str, ...], at: int, *, again: bool = False
    ) -> Erasure:
        if holds := await holds_on(connection, erasure.subject, self._own_data):
            raise HeldError(erasure, holds)
        asked = (erasure.erasure_id, erasure.subject, erasure.case_number, erasure.requested_by, erasure.requested_us)
        if not again:
            await asyncio.to_thread(self._ledger.append, LedgerLine(*asked, at, keys))
        more = await empty_some(connection, erasure.subject, keys)  # what is left cannot be read without the keys
        for part in self._own_data:
            await part.erase(connection, erasure.subject, at)
        destroyed = {"wrapped": None, "destroyed_us": at}
        await connection.execute(update(SUBJECT_KEY).where(SUBJECT_KEY.c.key_id.in_(keys)).values(**destroyed))
        state = State.DONE if self._elsewhere is None and more is None else State.DESTROYED
        after = msgspec.structs.replace(erasure, state=state.value, done_us=at)
        await self._save(connection, after)
        detail: dict[str, str | int | float | bool] = {
            "erasure_id": erasure.erasure_id,
            "case_number": erasure.case_number,
            "requested_by": erasure.requested_by,
            "keys": len(keys),
        }
        if again:
            detail["again"] = True
        entry = Entry(kind=Kind.SUBJECT_ERASED, at=moment(now_us()), subject=erasure.subject, detail=detail)
        await self._governor.record(connection, entry)
        return after

    async def _again(self, connection: AsyncConnection, line: LedgerLine) -> Erasure | None:
        row = (await connection.execute(select(ERASURE).where(ERASURE.c.erasure_id == line.erasure_id))).first()
        alive = tuple(key for key in await self._keys(connection, line.subject) if key in line.key_ids)
        if row is not None and row.state != State.PENDING and not alive:
            return None
        pending = Erasure(
            *(line.erasure_id, line.subject, line.case_number, line.requested_by, line.requested_us),
            State.PENDING.value,
        )
        if row is None:
            await connection.execute(insert(ERASURE).values(**msgspec.structs.asdict(pending)))
        try:
            return await self._destroy(connection, pending, alive, line.destroyed_us, again=True)
        except HeldError:
            await self._save(connection, pending)
            return None

    async def _save(self, connection: AsyncConnection, erasure: Erasure) -> None:
        values = {"state": erasure.state, "done_us": erasure.done_us}
        await connection.execute(update(ERASURE).where(ERASURE.c.erasure_id == erasure.erasure_id).values(**values))

    async def _clean(self, erasure: Erasure) -> Erasure:
        """Remove texts that cannot be read any more, and what is left in the search store.

        Done once nothing was found there long enough afterwards.
        """
        if erasure.state != State.DESTROYED or erasure.done_us is None:
            return erasure
        await empty(self._governor, erasure.subject)
        settled = now_us() - erasure.done_us >= SETTLED_US
        found = await self._elsewhere.erase(erasure.subject, erasure.done_us) if self._elsewhere is not None else 0
        if self._elsewhere is not None and (found or not settled):
            return erasure
        done = msgspec.structs.replace(erasure, state=State.DONE.value)
        async with self._governor.transaction() as connection:
            await self._save(connection, done)
        return done

    async def _scrub(self) -> None:
        """Take the old pages out of SQLite's log, where the wrapped keys still stand; another reader may delay it."""
        if self._governor.postgresql:
            return
        async with self._governor.reading() as connection:
            await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def _erasure(row: Row[tuple[object, ...]]) -> Erasure:
    return Erasure(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor
