"""The history in SQL: conversations and their messages, always asked for by their owner."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Update, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import transact
from gateway.history.records import CUT_SHORT, RUNNING, Conversation, OpenedTurn, StoredMessage
from gateway.history.tables import conversation, message
from gateway.identifiers import uuid7
from gateway.turn_events import Outcome, TurnEnded
from gateway.usage.tokens import likely_tokens
from inference.ports import Message, Role

TITLE_CHARS = 60
"""Longest title that is made from a first message."""
LIST_LIMIT = 100
PAGE_MESSAGES = 40


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class HistoryStore:
    """Reads and writes conversations. Every method that takes a subject sees that person's conversations only."""

    engine: AsyncEngine
    now: Callable[[], datetime] = _now

    async def create(self, subject: str, title: str = "") -> Conversation:
        """Make an empty conversation."""
        at = self.now()
        made = Conversation(id=uuid7(), subject=subject, title=title, created_at=at, updated_at=at)
        making = insert(conversation).values(**msgspec.structs.asdict(made))
        await transact(self.engine, lambda connection: connection.execute(making))
        return made

    async def conversations(
        self, subject: str, *, before: Conversation | None = None, limit: int = LIST_LIMIT
    ) -> tuple[Conversation, ...]:
        """Return the person's conversations that hold anything, latest first; `before` continues a list."""
        table = conversation.c
        used = select(message.c.id).where(message.c.conversation_id == table.id).exists()
        query = _conversation_columns().where(table.subject == subject, table.deleted_at.is_(None), used)
        if before is not None:
            query = query.where(
                or_(
                    table.updated_at < before.updated_at,
                    and_(table.updated_at == before.updated_at, table.id < before.id),
                )
            )
        query = query.order_by(table.updated_at.desc(), table.id.desc()).limit(limit)
        async with self.engine.connect() as connection:
            return tuple(_conversation(row) for row in await connection.execute(query))

    async def conversation(self, subject: str, conversation_id: str, *, deleted: bool = False) -> Conversation | None:
        """Return one conversation; None when there is none, or it is somebody else's, or deleted (unless asked for)."""
        query = _conversation_columns().where(
            conversation.c.id == _storable(conversation_id), conversation.c.subject == subject
        )
        if not deleted:
            query = query.where(conversation.c.deleted_at.is_(None))
        async with self.engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return _conversation(row) if row else None

    async def rename(self, subject: str, conversation_id: str, title: str) -> bool:
        """Give a conversation a title; False when there is no such conversation."""
        return await self._change(subject, conversation_id, deleted=False, title=title)

    async def delete(self, subject: str, conversation_id: str) -> bool:
        """Take a conversation out of the person's view; the audit log keeps its turns."""
        return await self._change(subject, conversation_id, deleted=False, deleted_at=self.now())

    async def restore(self, subject: str, conversation_id: str) -> bool:
        """Undo a deletion."""
        return await self._change(subject, conversation_id, deleted=True, deleted_at=None)

    async def _change(self, subject: str, conversation_id: str, *, deleted: bool, **values: object) -> bool:
        table = conversation.c
        where = (
            table.id == conversation_id,
            table.subject == subject,
            table.deleted_at.is_not(None) if deleted else table.deleted_at.is_(None),
        )
        return await self._update(update(conversation).where(*where).values(**values)) == 1

    async def _update(self, change: Update) -> int:
        return await transact(self.engine, lambda connection: connection.execute(change).rowcount)

    async def messages(
        self, conversation_id: str, *, before: int | None = None, limit: int = PAGE_MESSAGES
    ) -> tuple[StoredMessage, ...]:
        """Return the last messages in view (of those before a position), oldest first."""
        query = select(message).where(message.c.conversation_id == conversation_id, message.c.replaced.is_(False))
        if before is not None:
            query = query.where(message.c.position < before)
        query = query.order_by(message.c.position.desc()).limit(limit)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(_message(row) for row in reversed(rows))

    async def message(self, subject: str, message_id: str) -> StoredMessage | None:
        """Return one message of the person's conversations."""
        query = (
            select(message)
            .join(conversation, conversation.c.id == message.c.conversation_id)
            .where(message.c.id == message_id, conversation.c.subject == subject, conversation.c.deleted_at.is_(None))
        )
        async with self.engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return _message(row) if row else None

    async def last_user_message(self, conversation_id: str) -> StoredMessage | None:
        """Return the newest user message in view."""
        query = (
            select(message)
            .where(
                message.c.conversation_id == conversation_id,
                message.c.replaced.is_(False),
                message.c.role == Role.USER.value,
            )
            .order_by(message.c.position.desc())
            .limit(1)
        )
        async with self.engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return _message(row) if row else None

    async def context(
        self,
        conversation_id: str,
        *,
        messages: int,
        characters: int,
        tokens: int | None = None,
        without_turn: str = "",
    ) -> tuple[Message, ...]:
        """Return the newest exchanges that fit all bounds, oldest first, for the model's context.

        `tokens` as far as `likely_tokens` can say it; None: as many as there are.

        An exchange is a user message and its delivered answer. A blocked turn is never in it (neither its message nor
        its answer), nor a turn that still runs, that gave no text, or that was replaced by a new answer.
        """
        kept: list[Message] = []
        room, left = characters, tokens
        rows = await self.messages(conversation_id, limit=2 * messages)
        answers = {row.turn_id: row for row in rows if row.role == Role.ASSISTANT}
        for row in reversed(rows):
            answer = answers.get(row.turn_id)
            if row.role != Role.USER or answer is None or not _may_be_sent(answer) or row.turn_id == without_turn:
                continue
            room -= len(row.text) + len(answer.text)
            left = None if left is None else left - likely_tokens(row.text) - likely_tokens(answer.text)
            if room < 0 or len(kept) + 2 > messages or (left is not None and left < 0):
                break
            kept += [Message(Role.ASSISTANT, answer.text), Message(Role.USER, row.text)]
        return tuple(reversed(kept))

    async def begin_turn(
        self, conversation_id: str, turn_id: str, text: str, *, redacted: bool = False, replaces: str = ""
    ) -> OpenedTurn:
        """Store the user message and an answer still empty; a replaced turn leaves the view in the same transaction."""
        at = self.now()
        shared = {"conversation_id": conversation_id, "turn_id": turn_id, "created_at": at, "updated_at": at}

        def begin(connection: Connection) -> OpenedTurn:
            if replaces:
                of_turn = (message.c.turn_id == replaces, message.c.conversation_id == conversation_id)
                connection.execute(update(message).where(*of_turn).values(replaced=True))
            title = _touch(connection, conversation_id, at)
            last = select(func.coalesce(func.max(message.c.position), 0)).where(
                message.c.conversation_id == conversation_id
            )
            position = int(connection.execute(last).scalar_one())
            user = _blank(uuid7(), position + 1, Role.USER, text) | shared | {"redacted": redacted}
            answer = _blank(uuid7(), position + 2, Role.ASSISTANT, "") | shared
            connection.execute(insert(message), [user, answer])
            return OpenedTurn(user_message=str(user["id"]), answer=str(answer["id"]), title=title)

        return await transact(self.engine, begin)

    async def save_text(self, answer_id: str, text: str) -> None:
        """Store what was delivered so far of an answer that still runs."""
        running = (message.c.id == answer_id, message.c.outcome == RUNNING)
        await self._update(update(message).where(*running).values(text=_storable(text), updated_at=self.now()))

    async def end_turn(self, conversation_id: str, opened: OpenedTurn, text: str, ended: TurnEnded) -> str:
        """Store how a turn ended and all text that was delivered; return the conversation's title now."""
        of_turn = {
            "turn_id": ended.turn_id,
            "outcome": ended.outcome.value,
            "reason": ended.reason or (CUT_SHORT if ended.finish_reason == CUT_SHORT else ""),
            "categories": msgspec.json.encode(ended.categories).decode(),
            "rules": msgspec.json.encode(ended.rules).decode(),
            "duration_ms": ended.duration_ms,
            "updated_at": self.now(),
        }
        of_answer = of_turn | {
            "text": _storable(text),
            "tokens": ended.usage.completion_tokens,
            "redacted": ended.redacted,
        }

        def end(connection: Connection) -> str:
            connection.execute(update(message).where(message.c.id == opened.user_message).values(**of_turn))
            connection.execute(update(message).where(message.c.id == opened.answer).values(**of_answer))
            if opened.title or ended.outcome is Outcome.BLOCKED:
                return opened.title
            return _name_after(connection, conversation_id, opened.user_message)

        return await transact(self.engine, end)

    async def rate(self, message_id: str, rating: int, comment: str) -> None:
        """Store what the person thinks of an answer; its audit record stands already."""
        rated = update(message).where(message.c.id == message_id)
        await self._update(rated.values(rating=rating, comment=_storable(comment)))


def _touch(connection: Connection, conversation_id: str, at: datetime) -> str:
    # First in the transaction on purpose: it locks the row, so that two tabs get their positions one after another.
    changed = (
        update(conversation)
        .where(conversation.c.id == conversation_id)
        .values(updated_at=at)
        .returning(conversation.c.title)
    )
    return str(connection.execute(changed).scalar_one())


def _name_after(connection: Connection, conversation_id: str, user_message: str) -> str:
    typed = connection.execute(select(message.c.text).where(message.c.id == user_message))
    title = title_from(str(typed.scalar() or ""))  # gone where the person was erased meanwhile
    unnamed = (conversation.c.id == conversation_id, conversation.c.title == "")
    connection.execute(update(conversation).where(*unnamed).values(title=title))
    return title


def title_from(text: str) -> str:
    """Return a title made from the first line of a message."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def _may_be_sent(answer: StoredMessage) -> bool:
    return answer.outcome in (Outcome.COMPLETED, Outcome.ABORTED) and bool(answer.text)


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL in a text; the audit log has the exact one."""
    return text.replace("\x00", "\ufffd")


def _blank(message_id: str, position: int, role: Role, text: str) -> dict[str, object]:
    return {
        "id": message_id,
        "position": position,
        "role": role.value,
        "text": _storable(text),
        "outcome": RUNNING,
        "reason": "",
        "categories": "[]",
        "rules": "[]",
        "redacted": False,
        "tokens": 0,
        "duration_ms": 0,
        "rating": 0,
        "comment": "",
        "replaced": False,
    }


def _conversation_columns() -> Select[Any]:
    table = conversation.c
    return select(table.id, table.subject, table.title, table.created_at, table.updated_at)


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor


def _message(row: Row[Any]) -> StoredMessage:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor
    del values["replaced"]
    values["categories"] = msgspec.json.decode(values["categories"], type=tuple[str, ...])
    values["rules"] = msgspec.json.decode(values["rules"], type=tuple[str, ...])
    return StoredMessage(**values)
