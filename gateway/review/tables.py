"""Tables of the review queue; `migrations/versions/` has the step that makes them. No text of a turn is in them."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, false

metadata = MetaData()

REVIEW = Table(
    "review",
    metadata,
    Column("turn_id", String(36), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("blocked", Boolean, nullable=False),
    Column("twice", Boolean, nullable=False, server_default=false()),
    Column("assigned_to", Text, nullable=False, server_default=""),
    Column("outcome", Text, nullable=False, server_default=""),
    Column("decided_us", BigInteger, nullable=True),
    Index("review_waiting", "outcome", "source", "opened_us", "turn_id"),
)
"""Turns that people look at; `outcome` is empty while it waits."""

REVIEW_LABEL = Table(
    "review_label",
    metadata,
    Column("turn_id", String(36), ForeignKey("review.turn_id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("reviewer", Text, nullable=False),
    Column("harmful", Boolean, nullable=False),
    Column("place", Text, nullable=False),
    Column("categories", Text, nullable=False),
    Column("labelled_us", BigInteger, nullable=False),
    Index("review_label_by_reviewer", "turn_id", "reviewer", unique=True),
)
"""What each reviewer said of a turn, in order; `categories` is a JSON array."""

REVIEW_PROGRESS = Table(
    "review_progress",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("next_index", BigInteger, nullable=False),
)
"""Up to which place the log was looked through for turns to review."""
