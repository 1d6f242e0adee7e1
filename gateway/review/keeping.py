"""The review queue goes with what it is about: with a turn that is pruned, and with a person who is erased."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.covered import within
from audit.hold import Hold
from audit.pruning import parts
from gateway.review.tables import REVIEW, REVIEW_LABEL


class ReviewsOfTurns:
    """Implements `audit.retention.AboutTurns`: what was said of a turn goes in the transaction that prunes it."""

    async def forget(self, connection: AsyncConnection, turn_ids: Sequence[str]) -> None:
        """Remove turns from the queue, waiting or decided, with their labels."""
        for part in parts(turn_ids):
            await _remove(connection, REVIEW.c.turn_id.in_(part))


class ReviewsOfPerson:
    """Implements `audit.erasure.OwnData`: nobody is asked to judge a text that is gone."""

    async def erase(self, connection: AsyncConnection, subject: str, before_us: int) -> int:
        """Remove what stands in the queue of a person's turns before a time, with its labels."""
        return await _remove(connection, (REVIEW.c.subject == subject) & (REVIEW.c.opened_us < before_us))

    async def has(self, connection: AsyncConnection, subject: str) -> bool:
        """Whether any of the person's turns is in the queue."""
        return bool((await connection.execute(select(exists().where(REVIEW.c.subject == subject)))).scalar())

    async def covered(self, connection: AsyncConnection, subject: str, hold: Hold) -> bool:
        """Whether a hold covers any place of the person's turns in the queue."""
        query = select(REVIEW.c.turn_id).where(REVIEW.c.subject == subject, within(REVIEW.c.opened_us, hold))
        if hold.conversation_id:
            query = query.where(REVIEW.c.conversation_id == hold.conversation_id)
        return (await connection.execute(query.limit(1))).first() is not None


async def _remove(connection: AsyncConnection, which: ColumnElement[bool]) -> int:
    turns = select(REVIEW.c.turn_id).where(which)
    await connection.execute(delete(REVIEW_LABEL).where(REVIEW_LABEL.c.turn_id.in_(turns)))
    return (await connection.execute(delete(REVIEW).where(which))).rowcount
