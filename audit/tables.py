"""The tables of the audit log. `audit_entry` is the log; the others hold what belongs beside it.

migrations/versions/0001_audit.py makes them; a test compares. Times are microseconds since 1970 UTC, so that both
databases sort and filter them alike; the leaf has them in RFC 3339.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

METADATA = MetaData()

AUDIT_ENTRY = Table(
    "audit_entry",
    METADATA,
    Column("entry_id", String(36), primary_key=True),
    Column("leaf", LargeBinary, nullable=False),  # exact bytes; never made again
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("leaf_index", BigInteger, nullable=True),  # given once, by the sequencer
    Column("kind", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("turn_id", Text, nullable=False),
    Index("audit_entry_by_leaf_index", "leaf_index", unique=True),
    Index("audit_entry_by_kind", "kind", "entry_id"),
    Index(
        "audit_entry_by_turn",
        "turn_id",
        "entry_id",
        sqlite_where=text("turn_id <> ''"),
        postgresql_where=text("turn_id <> ''"),
    ),
    Index("audit_entry_by_subject", "subject", "entry_id"),
)
"""One row per record. Triggers refuse DELETE and every UPDATE but giving `leaf_index` once."""

AUDIT_TURN = Table(
    "audit_turn",
    METADATA,
    Column("turn_id", Text, primary_key=True),
    Column("opened_us", BigInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("opened_entry", String(36), nullable=False),
    Column("closed_entry", String(36), nullable=True),
    Column("writer_id", Text, nullable=False),
    Index("audit_turn_by_time", "opened_us", "turn_id"),
    Index("audit_turn_by_subject", "subject", "opened_us", "turn_id"),
    Index("audit_turn_by_conversation", "conversation_id", "opened_us", "turn_id"),
    Index("audit_turn_by_verdict", "verdict", "opened_us", "turn_id"),
    Index(
        "audit_turn_open",
        "writer_id",
        sqlite_where=text("closed_entry IS NULL"),
        postgresql_where=text("closed_entry IS NULL"),
    ),
)
"""One row per turn, for lists: a projection of the turn's first and closing records, which alone are evidence."""

SUBJECT_KEY = Table(
    "subject_key",
    METADATA,
    Column("key_id", String(36), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=True),  # NULL once destroyed
    Column("master_key", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("destroyed_us", BigInteger, nullable=True),
    Index(
        "subject_key_in_use",
        "subject",
        unique=True,
        sqlite_where=text("destroyed_us IS NULL"),
        postgresql_where=text("destroyed_us IS NULL"),
    ),
)
"""One key in use per subject, wrapped by the master key."""

AUDIT_CONTENT = Table(
    "audit_content",
    METADATA,
    Column("entry_id", String(36), ForeignKey("audit_entry.entry_id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("key_id", String(36), ForeignKey("subject_key.key_id"), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
"""The texts of records, encrypted, in the order of the leaf's commitments. UPDATE is refused."""

AUDIT_TEXT = Table(
    "audit_text",
    METADATA,
    Column("text_id", String(43), primary_key=True),
    Column("key_id", String(36), ForeignKey("subject_key.key_id"), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
"""Each dialogue text once per subject, encrypted; leaves refer to it in `context`. UPDATE is refused."""

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("entry_id", String(36), ForeignKey("audit_entry.entry_id"), primary_key=True),
    Column("due_us", BigInteger, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
    Index("outbox_by_due", "due_us", "entry_id"),
)
"""What is still to be delivered to the search store; a row goes when it was delivered."""

AUDIT_WRITER = Table(
    "audit_writer",
    METADATA,
    Column("writer_id", String(36), primary_key=True),
    Column("started_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
    Column("padding", LargeBinary, nullable=True),
)
"""Processes that write; `padding` is what the readiness probe writes to see that there is room."""
