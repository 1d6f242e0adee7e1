"""What the history keeps of a person, removed in the transaction in which the person is erased."""

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import moment
from audit.hold import Hold
from gateway.history.tables import conversation, message


class HistoryOfPerson:
    """Implements `audit.erasure.OwnData`."""

    async def erase(self, connection: AsyncConnection, subject: str, before_us: int) -> int:
        """Remove the messages before a time, titles made from them, and the conversations that are then empty."""
        before, table = moment(before_us), conversation.c
        theirs = select(table.id).where(table.subject == subject)
        gone = await connection.execute(
            delete(message).where(message.c.conversation_id.in_(theirs), message.c.created_at < before)
        )
        left = exists().where(message.c.conversation_id == table.id)
        earlier = (table.subject == subject, table.created_at < before)
        await connection.execute(delete(conversation).where(*earlier, ~left))
        await connection.execute(update(conversation).where(*earlier).values(title=""))
        return gone.rowcount

    async def has(self, connection: AsyncConnection, subject: str) -> bool:
        """Whether the person has conversations."""
        query = select(exists().where(conversation.c.subject == subject))
        return bool((await connection.execute(query)).scalar())

    async def covered(self, connection: AsyncConnection, subject: str, hold: Hold) -> bool:
        """Whether a hold covers a conversation of the person, or a message that was there or grew in its time."""
        table = conversation.c
        begun: list[ColumnElement[bool]] = [table.created_at.is_not(None)]
        grew: list[ColumnElement[bool]] = [message.c.id.is_not(None)]
        if hold.since_us is not None:
            begun.append(table.created_at >= moment(hold.since_us))
            grew.append(message.c.updated_at >= moment(hold.since_us))
        if hold.until_us is not None:
            begun.append(table.created_at < moment(hold.until_us))
            grew.append(message.c.created_at < moment(hold.until_us))
        query = (
            select(table.id)
            .outerjoin(message, message.c.conversation_id == table.id)
            .where(table.subject == subject, or_(and_(*begun), and_(*grew)))
        )
        if hold.conversation_id:
            query = query.where(table.id == hold.conversation_id)
        return (await connection.execute(query.limit(1))).first() is not None
