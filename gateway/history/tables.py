"""Tables of the history; `migrations/versions/0003_history.py` makes them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import Boolean


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on every database; SQLite would give back a naive one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - interface
        """Store in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - interface
        """Give back in UTC."""
        if value is None:
            return None
        read: datetime = value
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


metadata = MetaData()

conversation = Table(
    "conversation",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("subject", String(255), nullable=False),
    Column("title", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
    Index("ix_conversation_subject_updated_at", "subject", "updated_at"),
)

message = Table(
    "message",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("conversation_id", String(36), ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("turn_id", String(36), nullable=False),
    # Of the whole turn, on both of its messages: running | completed | blocked | aborted.
    Column("outcome", String(16), nullable=False),
    Column("reason", String(64), nullable=False),
    # JSON arrays of strings.
    Column("categories", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("redacted", Boolean, nullable=False, server_default=false()),
    Column("tokens", Integer, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("rating", Integer, nullable=False),
    Column("comment", Text, nullable=False),
    Column("replaced", Boolean, nullable=False, server_default=false()),
    # Of the turn: empty, open, then harmful or harmless as the reviewers found; and what they say to the person.
    Column("appeal", String(16), nullable=False, server_default=""),
    Column("appeal_note", Text, nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("conversation_id", "position", name="uq_message_conversation_id_position"),
    Index("ix_message_turn_id", "turn_id"),
)
