"""Whose access has ended, whose sessions were ended lately, and who is signed in; for administrators."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.record import Entry, Kind
from audit.rows import microseconds
from audit.search.names import PersonNames
from audit.search.records import SLACK, id_at
from audit.tables import AUDIT_ENTRY
from audit.trail import checked_entry
from gateway.auth import tables as sign_in
from gateway.ending import tables
from gateway.ending.ended import Scope

MOST = 200
"""People with sessions on one page; a search finds the others."""
MOST_WITHOUT = 100
"""People without access on one page, those last who lost it first."""
MOST_LATELY = 50
"""People on one page whose sessions were ended."""
LATELY_DAYS = 7
"""For how long that is shown."""
LOOKED_AT = 500
"""People without access, and people whose sessions were ended, whose names a search compares: the newest."""
MOST_RECORDS = 5_000
"""Records of ended sessions that are read for that; most say that there was none left."""
_AT_ONCE = 250
_SECOND = 1_000_000
_KEPT_OUT = sa.and_(tables.ended.c.scope == Scope.PERSON, tables.ended.c.group_name == "", tables.ended.c.lasting)


class State(StrEnum):
    """What became of a person's access."""

    DISABLED = "disabled"
    """Nothing counts until it is restored."""
    SESSIONS_ENDED = "sessions_ended"
    """Somebody else ended the sessions: the provider when it was asked, its logout, an administrator."""
    SIGNED_IN = "signed_in"


class Person(msgspec.Struct, frozen=True):
    """A person with sessions, or without."""

    subject: str
    name: str
    state: State
    since_us: int
    """When access or sessions ended, or were used last; microseconds since 1970 UTC."""
    sessions: int = 0
    reason: str = ""
    ended_by: str = ""


class Found(msgspec.Struct, frozen=True):
    """Those without access first, then those whose sessions were ended, then those who are signed in; newest first."""

    people: tuple[Person, ...]
    more: bool
    """There are others, whom a search finds."""


class People:
    """Reads them. Names are those of the newest records, as everywhere in the console."""

    def __init__(self, engine: AsyncEngine, names: PersonNames, unix_time: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._names = names
        self._unix_time = unix_time

    async def found(self, words: str = "") -> Found:
        """Return whose subject or name holds these words. Raises `sqlalchemy.exc.SQLAlchemyError`, `OSError`."""
        async with self._engine.connect() as connection:
            without = await self._without(connection, words)
            lately = await self._lately(connection)
            here = await _here(connection, words)
            known = await _known(connection, [one.subject for one in lately])
        lately = [one for one in lately if one.subject not in known]
        gone = {one.subject for one in without}
        here = [one for one in here if one.subject not in gone]
        without, lately = await self._named(without, lately)
        parts = ((_fitting(without, words), MOST_WITHOUT), (_fitting(lately, words), MOST_LATELY), (here, MOST))
        people = tuple(one for part, most in parts for one in part[:most])
        return Found(people, any(len(part) > most for part, most in parts))

    async def _without(self, connection: AsyncConnection, words: str) -> list[Person]:
        table = tables.ended
        query = sa.select(table).where(_KEPT_OUT).order_by(table.c.changed_us.desc())
        rows = list(await connection.execute(query.limit(LOOKED_AT if words else MOST_WITHOUT + 1)))
        if words:
            older = query.where(table.c.value.icontains(words, autoescape=True)).limit(MOST_WITHOUT + 1)
            rows += await connection.execute(older)
        by_subject = {
            row.value: Person(row.value, "", State.DISABLED, row.changed_us, reason=row.reason, ended_by=row.ended_by)
            for row in rows
        }
        return list(by_subject.values())

    async def _lately(self, connection: AsyncConnection) -> list[Person]:
        since = datetime.fromtimestamp(self._unix_time(), UTC) - timedelta(days=LATELY_DAYS)
        entry = AUDIT_ENTRY.c
        query = sa.select(entry.leaf, entry.leaf_hash).where(
            entry.kind == Kind.SESSION_ENDED,
            entry.at_us >= microseconds(since),
            entry.entry_id >= id_at(since, -SLACK),  # the index goes no further back
        )
        found: dict[str, Person] = {}
        async with connection.stream(query.order_by(entry.entry_id.desc()).limit(MOST_RECORDS)) as rows:
            async for part in rows.partitions(_AT_ONCE):
                for row in part:
                    with contextlib.suppress(AuditIntegrityError):
                        record = checked_entry(row.leaf, row.leaf_hash)
                        # The provider also calls after a person's own sign-out, when there is nothing left to end.
                        if record.detail.get("sessions"):
                            found.setdefault(record.subject, _ended(record))
                if len(found) >= LOOKED_AT:
                    break
        return list(found.values())

    async def _named(self, *lists: list[Person]) -> list[list[Person]]:
        names: dict[str, str] = {}
        with contextlib.suppress(AuditUnavailableError):  # names are an aid
            names = await self._names.of({one.subject: None for part in lists for one in part if not one.name})
        return [
            [msgspec.structs.replace(one, name=one.name or names.get(one.subject, "")) for one in part]
            for part in lists
        ]


async def _here(connection: AsyncConnection, words: str) -> list[Person]:
    table = sign_in.session
    seen_at = sa.func.max(table.c.seen_at).label("seen_at")
    query = sa.select(
        table.c.subject, sa.func.max(table.c.name).label("name"), sa.func.count().label("sessions"), seen_at
    ).group_by(table.c.subject)
    if words:
        query = query.where(
            sa.or_(*(column.icontains(words, autoescape=True) for column in (table.c.subject, table.c.name)))
        )
    rows = await connection.execute(query.order_by(seen_at.desc(), table.c.subject).limit(MOST + 1))
    return [Person(row.subject, row.name, State.SIGNED_IN, row.seen_at * _SECOND, row.sessions) for row in rows]


async def _known(connection: AsyncConnection, subjects: Sequence[str]) -> set[str]:
    """Return who of these has sessions, or no access at all."""
    session, ended = sign_in.session.c.subject, tables.ended.c.value
    here = sa.select(session).where(session.in_(subjects))
    without = sa.select(ended).where(ended.in_(subjects), _KEPT_OUT)
    return set((await connection.execute(sa.union(here, without))).scalars())


def _ended(record: Entry) -> Person:
    by = str(record.detail.get("by", ""))
    at = microseconds(record.at)
    return Person(record.subject, record.name, State.SESSIONS_ENDED, at, reason=record.reason, ended_by=by)


def _fitting(people: Iterable[Person], words: str) -> list[Person]:
    wanted = words.casefold()
    return [one for one in people if wanted in one.subject.casefold() or wanted in one.name.casefold()]
