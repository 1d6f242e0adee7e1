"""Who sent how many turns, and how many of them were stopped: from the lists of turns, bounded."""

import statistics
from collections import Counter
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.ports import AuditUnavailableError
from audit.rows import microseconds
from audit.tables import AUDIT_TURN

MOST_LOOKED_AT = 20_000
"""Turns of a period that are looked at, the newest."""
UNUSUAL = 5
"""Times the median from which on a person's turns are called unusually many."""
AT_LEAST = 50
"""Turns below which nothing is unusual."""
REPEATED = 3
"""Stopped turns from which on attempts are called repeated."""
_STOPPED = frozenset({"block", "escalate"})


class Person(msgspec.Struct, frozen=True):
    """One person's turns in a period."""

    subject: str
    """As columns hold it."""
    turns: int
    stopped: int
    unusual: bool
    repeated: bool


async def people(engine: AsyncEngine, since: datetime, limit: int) -> tuple[Person, ...]:
    """Return people by stopped turns, then by turns. Raises `AuditUnavailableError`."""
    turn = AUDIT_TURN.c
    query = select(turn.subject, turn.verdict).where(turn.opened_us >= microseconds(since))
    try:
        async with engine.connect() as connection:
            ordered = query.order_by(turn.opened_us.desc()).limit(MOST_LOOKED_AT)
            rows = (await connection.execute(ordered)).all()
    except (SQLAlchemyError, OSError) as error:
        raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error
    turns = Counter(row.subject for row in rows)
    stopped = Counter(row.subject for row in rows if row.verdict in _STOPPED)
    usual = statistics.median(turns.values()) if turns else 0
    most = sorted(turns, key=lambda subject: (-stopped[subject], -turns[subject], subject))[:limit]
    return tuple(
        Person(
            subject,
            turns[subject],
            stopped[subject],
            unusual=turns[subject] >= max(AT_LEAST, UNUSUAL * usual),
            repeated=stopped[subject] >= REPEATED,
        )
        for subject in most
    )
