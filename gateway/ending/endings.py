"""Access that is ended or restored: what changes and the record that says so are one transaction."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import Governor, moment, now_us
from audit.record import Entry, Kind
from gateway.auth import tables as sign_in
from gateway.ending import tables
from gateway.ending.ended import FORGOTTEN_S, Scope
from gateway.folding import folded

PROVIDER = "provider"
"""Who ended it, where the identity provider did."""
_MOST_NAMED = 20

Detail = dict[str, str | int | float | bool]
Step = Callable[[AsyncConnection], Awaitable[None]]
"""Something done in the transaction of an ending, before it: where it raises, nothing has ended."""
_FORGET_EVERY_S = 3600
_FORGOTTEN_AT_ONCE = 10_000
_AT_ONCE = 250
"""Changes and records that one step of a long transaction writes: the event loop is free in between."""


class Move(msgspec.Struct, frozen=True):
    """Groups of one person that no longer count, and that count again."""

    subject: str
    gone: frozenset[str] = frozenset()
    back: frozenset[str] = frozenset()


class Endings:
    """Ends and restores access. Every method raises `AuditUnavailableError` when nothing could be changed."""

    def __init__(self, governor: Governor, unix_time: Callable[[], float] = time.time) -> None:
        self._governor = governor
        self._unix_time = unix_time
        self._forgot_at = 0.0

    async def end_session(self, id_hash: str, *, reason: str, by: str = PROVIDER) -> bool:
        """End one session; whether there was one."""
        return await self._end_sessions(sign_in.session.c.id_hash == id_hash, reason, by, person=None) > 0

    async def end_sessions_of(self, subject: str, *, reason: str, by: str, first: Step | None = None) -> int:
        """End a person's sessions and whatever tokens were given out until now; return how many sessions there were."""
        return await self._end_sessions(sign_in.session.c.subject == subject, reason, by, person=subject, first=first)

    async def end_provider_session(self, sid: str, *, reason: str, subject: str, first: Step | None = None) -> int:
        """End the sessions and tokens of one of the provider's sessions; return how many sessions there were."""
        async with self._governor.transaction() as connection:
            if first is not None:
                await first(connection)
            await self._forget(connection)
            await self._note(connection, Scope.PROVIDER_SESSION, sid, lasting=False, reason=reason, by=PROVIDER)
            ended = await self._delete(connection, sign_in.session.c.provider_session == sid)
            for_whom = (ended[0].subject if ended else subject) or PROVIDER
            await self._governor.record(connection, _ended(Kind.SESSION_ENDED, for_whom, reason, PROVIDER, ended))
        return len(ended)

    async def disable(self, subject: str, *, reason: str, by: str) -> int:
        """Let nothing of this person count until `restore`; return how many sessions were ended."""
        async with self._governor.transaction() as connection:
            return await self.disable_in(connection, subject, reason=reason, by=by)

    async def disable_in(
        self, connection: AsyncConnection, subject: str, *, reason: str, by: str, name: str = ""
    ) -> int:
        """Do what `disable` does in an open transaction; `name` is on record where no session says another."""
        await self._note(connection, Scope.PERSON, subject, lasting=True, reason=reason, by=by)
        ended = await self._delete(connection, sign_in.session.c.subject == subject)
        entry = _ended(Kind.PERSON_DISABLED, subject, reason, by, ended)
        await self._governor.record(connection, msgspec.structs.replace(entry, name=entry.name or name))
        return len(ended)

    async def restore(self, subject: str, *, reason: str, by: str) -> bool:
        """Let the person sign in again; whether access had ended. What was given out before stays ended."""
        async with self._governor.transaction() as connection:
            return await self.restore_in(connection, subject, reason=reason, by=by)

    async def restore_in(
        self, connection: AsyncConnection, subject: str, *, reason: str, by: str, only_by: str | None = None
    ) -> bool:
        """Do what `restore` does in an open transaction; with `only_by`, only where it was ended by that one."""
        table = tables.ended
        lasting = _lasting(subject)
        if only_by is not None:
            lasting = sa.and_(lasting, table.c.ended_by == only_by)
        changed = {
            "lasting": False,
            "since": int(self._unix_time()),
            "changed_us": await _later(connection),
            "ended_by": by,
        }
        done = await connection.execute(sa.update(table).where(lasting).values(**changed))
        if done.rowcount:
            await self._governor.record(connection, _entry(Kind.PERSON_RESTORED, subject, reason, by, {}))
        return bool(done.rowcount)

    async def ended_by_in(self, connection: AsyncConnection, subject: str) -> str | None:
        """Return who ended a person's access for as long as it lasts; None: it stands."""
        found: str | None = await connection.scalar(sa.select(tables.ended.c.ended_by).where(_lasting(subject)))
        return found

    async def spellings_in(self, connection: AsyncConnection, subject: str, *, by: str) -> list[str]:
        """Return the spellings of a person under which this one ended access (`gateway.folding`)."""
        table = tables.ended.c  # no database folds case as Python does
        query = sa.select(table.value).where(
            table.scope == Scope.PERSON, table.group_name == "", table.lasting, table.ended_by == by
        )
        return [each for each in (await connection.execute(query)).scalars() if folded(each) == folded(subject)]

    async def without_group_in(self, connection: AsyncConnection, group: str) -> frozenset[str]:
        """Return the subjects of those for whom a group no longer counts."""
        table = tables.ended
        query = sa.select(table.c.value).where(
            table.c.scope == Scope.PERSON, table.c.group_name == group, table.c.lasting
        )
        return frozenset((await connection.execute(query)).scalars())

    async def move_in(self, connection: AsyncConnection, moves: Sequence[Move], *, reason: str, by: str) -> None:
        """Let groups of people no longer count, or count again, whatever the provider's tokens say."""
        for first in range(0, len(moves), _AT_ONCE):
            some = moves[first : first + _AT_ONCE]
            await self._note_groups(connection, some, reason, by)
            entries = [_moved(move, reason, by) for move in some]
            await self._governor.record(connection, *entries)

    async def moved(self, id_hash: str, values: dict[str, Any], groups: tuple[str, ...], *, gone: list[str]) -> None:
        """Write what the provider now says of a session's groups."""
        table = sign_in.session
        async with self._governor.transaction() as connection:
            changing = sa.update(table).where(table.c.id_hash == id_hash).values(**values).returning(table.c.subject)
            subject = (await connection.execute(changing)).scalar_one_or_none()
            if subject is not None:
                detail: Detail = {"gone": _named(gone)}
                entry = _entry(Kind.PERSON_MOVED, subject, "provider_groups", PROVIDER, detail)
                await self._governor.record(connection, msgspec.structs.replace(entry, groups=groups))

    async def _end_sessions(
        self, which: sa.ColumnElement[bool], reason: str, by: str, person: str | None, first: Step | None = None
    ) -> int:
        async with self._governor.transaction() as connection:
            if first is not None:
                await first(connection)
            if person is not None:
                await self._note(connection, Scope.PERSON, person, lasting=None, reason=reason, by=by)
            ended = await self._delete(connection, which)
            if ended or person is not None:
                subject = person or str(ended[0].subject)
                await self._governor.record(connection, _ended(Kind.SESSION_ENDED, subject, reason, by, ended))
        return len(ended)

    async def _delete(self, connection: AsyncConnection, which: sa.ColumnElement[bool]) -> list[Any]:
        table = sign_in.session
        deleting = sa.delete(table).where(which).returning(table.c.subject, table.c.name, table.c.created_at)
        return list((await connection.execute(deleting)).all())

    async def _forget(self, connection: AsyncConnection) -> None:
        """Take sessions of the provider off the list in which nothing counts any more; once an hour is enough."""
        now = self._unix_time()
        if now - self._forgot_at < _FORGET_EVERY_S:
            return
        self._forgot_at = now
        table = tables.ended
        over = sa.and_(table.c.scope == Scope.PROVIDER_SESSION.value, table.c.since < int(now) - FORGOTTEN_S)
        some = sa.select(table.c.value).where(over).limit(_FORGOTTEN_AT_ONCE)
        await connection.execute(sa.delete(table).where(over, table.c.value.in_(some)))

    async def _note(
        self,
        connection: AsyncConnection,
        scope: Scope,
        value: str,
        *,
        lasting: bool | None,
        reason: str,
        by: str,
    ) -> None:
        """Put an ending on the list; with `lasting=None` one that lasts goes on, and stays of whoever made it."""
        dialect = postgresql if self._governor.postgresql else sqlite
        table = tables.ended
        now = int(self._unix_time())
        values: dict[str, Any] = {"since": now, "reason": reason[:64], "ended_by": by[:255]}
        values["changed_us"] = await _later(connection)
        adding = dialect.insert(table).values(
            scope=scope.value, value=value, group_name="", lasting=bool(lasting), **values
        )
        changed = values | {"lasting": lasting}
        if lasting is None:
            lasts = table.c.lasting
            kept = {name: sa.case((lasts, table.c[name]), else_=values[name]) for name in ("reason", "ended_by")}
            changed = values | kept
        keys = [table.c.scope, table.c.value, table.c.group_name]
        await connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=changed))

    async def _note_groups(self, connection: AsyncConnection, moves: Sequence[Move], reason: str, by: str) -> None:
        dialect = postgresql if self._governor.postgresql else sqlite
        table = tables.ended
        common = {"scope": Scope.PERSON.value, "since": int(self._unix_time()), "reason": reason[:64],
                  "ended_by": by[:255], "changed_us": await _later(connection)}  # fmt: skip
        rows = [
            {"value": move.subject, "group_name": group, "lasting": group in move.gone, **common}
            for move in moves
            for group in sorted(move.gone | move.back)
        ]
        adding = dialect.insert(table)
        keys = [table.c.scope, table.c.value, table.c.group_name]
        changed = {name: adding.excluded[name] for name in ("lasting", "since", "reason", "ended_by", "changed_us")}
        if rows:
            await connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=changed), rows)


async def _later(connection: AsyncConnection) -> int:
    """Return a time (µs) after every change on the list, also while the clock stands before the last one.

    Gateways ask for what is later than what they know: a change with an earlier time would never reach them.
    """
    last = await connection.scalar(sa.select(sa.func.max(tables.ended.c.changed_us)))
    return max(now_us(), (last or 0) + 1)


def _entry(kind: Kind, subject: str, reason: str, by: str, detail: Detail) -> Entry:
    who: Detail = {"by": by}
    return Entry(kind=kind, at=moment(now_us()), subject=subject, reason=reason, detail=who | detail)


def _ended(kind: Kind, subject: str, reason: str, by: str, sessions: Sequence[Any]) -> Entry:
    """Return the record of sessions that were ended, with the name that the newest sign-in brought."""
    name = max(((row.created_at, row.name) for row in sessions), default=(0, ""))[1]
    return msgspec.structs.replace(_entry(kind, subject, reason, by, {"sessions": len(sessions)}), name=name)


def _moved(move: Move, reason: str, by: str) -> Entry:
    detail: Detail = {"gone": _named(sorted(move.gone)), "back": _named(sorted(move.back))}
    return _entry(Kind.PERSON_MOVED, move.subject, reason, by, detail)


def _lasting(subject: str) -> sa.ColumnElement[bool]:
    """Choose the row that keeps a person out."""
    table = tables.ended
    return sa.and_(table.c.scope == Scope.PERSON, table.c.value == subject, table.c.group_name == "", table.c.lasting)


def _named(groups: list[str]) -> str:
    """Return groups in one text, the first of many."""
    more = len(groups) - _MOST_NAMED
    return ", ".join(groups[:_MOST_NAMED]) + (f" (+{more})" if more > 0 else "")
