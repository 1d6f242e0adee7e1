"""Who is signed in, and whose access has ended; for administrators."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth import tables as sign_in
from gateway.ending import tables
from gateway.ending.ended import Scope

MOST = 200
"""People on one page; a search finds the others."""


class Person(msgspec.Struct, frozen=True):
    """A person with sessions, or without access."""

    subject: str
    name: str
    sessions: int
    seen_at: int
    """Last use, in whole seconds of Unix time; 0: not known."""
    disabled: bool
    reason: str = ""
    ended_by: str = ""


class People:
    """Reads them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def found(self, words: str = "") -> tuple[Person, ...]:
        """Return whose subject or name holds these words: those without access first, then those seen last."""
        session, ended = sign_in.session, tables.ended
        signed_in = sa.select(
            session.c.subject,
            sa.func.max(session.c.name).label("name"),
            sa.func.count().label("sessions"),
            sa.func.max(session.c.seen_at).label("seen_at"),
        ).group_by(session.c.subject)
        disabled = sa.select(ended).where(ended.c.scope == Scope.PERSON, ended.c.group_name == "", ended.c.lasting)
        if words:
            fits = [column.icontains(words, autoescape=True) for column in (session.c.subject, session.c.name)]
            signed_in = signed_in.where(sa.or_(*fits))
            disabled = disabled.where(ended.c.value.icontains(words, autoescape=True))
        latest = sa.func.max(session.c.seen_at).desc()
        async with self._engine.connect() as connection:
            out = (await connection.execute(disabled.order_by(ended.c.changed_us.desc()).limit(MOST))).all()
            here = (await connection.execute(signed_in.order_by(latest, session.c.subject).limit(MOST))).all()
        gone = {row.value for row in out}
        without = [Person(row.value, "", 0, 0, disabled=True, reason=row.reason, ended_by=row.ended_by) for row in out]
        others = [
            Person(row.subject, row.name, row.sessions, row.seen_at, disabled=False)
            for row in here
            if row.subject not in gone
        ]
        return (*without, *others)[:MOST]
