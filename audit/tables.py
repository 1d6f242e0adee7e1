"""The tables of the audit log. `audit_entry` is the log; the others hold what belongs beside it.

migrations/versions/ has the steps that make them; a test compares. Times are microseconds since 1970 UTC, so that both
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
    Index(
        "audit_entry_unsequenced",
        "entry_id",
        sqlite_where=text("leaf_index IS NULL"),
        postgresql_where=text("leaf_index IS NULL"),
    ),
)
"""One row per record. Triggers refuse DELETE and every UPDATE but two: giving `leaf_index` once, and emptying a row
that has one and is older than 180 days by the database's clock (`leaf` → empty, `subject` and `turn_id` → '')."""

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
    Index("audit_text_by_key", "key_id"),
)
"""Each dialogue text once per subject, encrypted; leaves refer to it in `context`. UPDATE is refused."""

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("entry_id", String(36), ForeignKey("audit_entry.entry_id"), primary_key=True),
    Column("due_us", BigInteger, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
    Column("dead_us", BigInteger, nullable=True),  # dead letter since then; `error` says why
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

AUDIT_TILE = Table(
    "audit_tile",
    METADATA,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("root_hash", LargeBinary, nullable=False),  # of the tile: its hash in the level above
    Column("hashes", LargeBinary, nullable=False),
)
"""Complete tiles of the tree: 256 hashes each, as in C2SP tlog-tiles (level 0: leaf hashes). UPDATE and DELETE are
refused."""

AUDIT_CHECKPOINT = Table(
    "audit_checkpoint",
    METADATA,
    Column("tree_size", BigInteger, primary_key=True, autoincrement=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),  # the signed note, exactly as published
    Column("at_us", BigInteger, nullable=False),
)
"""Every tree that was signed. UPDATE and DELETE are refused."""

AUDIT_FACET = Table(
    "audit_facet",
    METADATA,
    Column("facet", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("opened_us", BigInteger, primary_key=True, autoincrement=False),
    Column("turn_id", Text, primary_key=True),
    Index("audit_facet_by_turn", "turn_id", "facet", "value"),
    sqlite_with_rowid=False,
)
"""What turns are found by beside the columns of `audit_turn`: group, category, rule, model, role. A projection."""

HOLD = Table(
    "hold",
    METADATA,
    Column("hold_id", String(36), primary_key=True),
    Column("case_number", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("subject", Text, nullable=False, server_default=""),
    Column("conversation_id", Text, nullable=False, server_default=""),
    Column("since_us", BigInteger, nullable=True),
    Column("until_us", BigInteger, nullable=True),
    Column("placed_by", Text, nullable=False),
    Column("placed_us", BigInteger, nullable=False),
    Column("released_by", Text, nullable=False, server_default=""),
    Column("released_us", BigInteger, nullable=True),
    Column("group", Text, nullable=False, server_default=""),
    Column("verdict", Text, nullable=False, server_default=""),
    Column("category", Text, nullable=False, server_default=""),
    Column("rule", Text, nullable=False, server_default=""),
    Column("model", Text, nullable=False, server_default=""),
    Column("turns", Integer, nullable=False, server_default="0"),
)
"""Legal holds; an empty field does not restrict. In force while `released_us` is NULL. `turns`: rows in `hold_turn`."""

HOLD_TURN = Table(
    "hold_turn",
    METADATA,
    Column("hold_id", String(36), primary_key=True),
    Column("turn_id", Text, primary_key=True),
    Index("hold_turn_by_turn", "turn_id"),
)
"""Turns that a hold names one by one."""

ERASURE = Table(
    "erasure",
    METADATA,
    Column("erasure_id", String(36), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("case_number", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_us", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("done_us", BigInteger, nullable=True),
    Index("erasure_by_state", "state", "subject"),
)
"""Requests to erase a person's texts: `pending | done`. Applied again after a restore."""

APPROVAL = Table(
    "approval",
    METADATA,
    Column("approval_id", String(36), primary_key=True),
    Column("action", Text, nullable=False),
    Column("arguments", Text, nullable=False),  # JSON
    Column("requested_by", Text, nullable=False),
    Column("requested_us", BigInteger, nullable=False),
    Column("decided_by", Text, nullable=False, server_default=""),
    Column("decided_us", BigInteger, nullable=True),
    Column("decision", Text, nullable=False, server_default=""),
    Column("expires_us", BigInteger, nullable=False),
)
"""What waits for a second person, and what was decided."""

ANCHOR = Table(
    "anchor",
    METADATA,
    Column("place", Text, primary_key=True),
    Column("tree_size", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("receipt", Text, nullable=False),
)
"""Checkpoints that stand outside, and where."""
