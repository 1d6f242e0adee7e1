"""What the history keeps of a person, removed in the transaction in which the person is erased."""

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import moment
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
