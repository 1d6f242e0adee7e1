"""The audit log: records, their texts, the keys of subjects, what is to be delivered."""

import sqlalchemy as sa
from alembic import op

revision = "0001_audit"
down_revision = None
branch_labels = None
depends_on = None

_FIXED = ("entry_id", "leaf", "leaf_hash", "kind", "at_us", "subject", "turn_id")
_TABLES = ("outbox", "audit_content", "audit_text", "audit_turn", "subject_key", "audit_writer", "audit_entry")


def upgrade() -> None:
    _entries()
    _turns()
    _texts()
    _operations()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP TRIGGER audit_entry_append_only ON audit_entry")
        op.execute("DROP TRIGGER audit_entry_no_truncate ON audit_entry")
        op.execute("DROP TRIGGER audit_content_no_update ON audit_content")
        op.execute("DROP TRIGGER audit_text_no_update ON audit_text")
        op.execute("DROP FUNCTION audit_entry_guard()")
        op.execute("DROP FUNCTION audit_refuse()")
    for table in _TABLES:
        op.drop_table(table)


def _entries() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("entry_id", sa.String(36), primary_key=True),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("leaf_index", sa.BigInteger, nullable=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
    )
    op.create_index("audit_entry_by_leaf_index", "audit_entry", ["leaf_index"], unique=True)
    op.create_index("audit_entry_by_kind", "audit_entry", ["kind", "entry_id"])
    op.create_index("audit_entry_by_subject", "audit_entry", ["subject", "entry_id"])
    _partial("audit_entry_by_turn", "audit_entry", ["turn_id", "entry_id"], "turn_id <> ''")


def _turns() -> None:
    op.create_table(
        "audit_turn",
        sa.Column("turn_id", sa.Text, primary_key=True),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("opened_entry", sa.String(36), nullable=False),
        sa.Column("closed_entry", sa.String(36), nullable=True),
        sa.Column("writer_id", sa.Text, nullable=False),
    )
    op.create_index("audit_turn_by_time", "audit_turn", ["opened_us", "turn_id"])
    op.create_index("audit_turn_by_subject", "audit_turn", ["subject", "opened_us", "turn_id"])
    op.create_index("audit_turn_by_conversation", "audit_turn", ["conversation_id", "opened_us", "turn_id"])
    op.create_index("audit_turn_by_verdict", "audit_turn", ["verdict", "opened_us", "turn_id"])
    _partial("audit_turn_open", "audit_turn", ["writer_id"], "closed_entry IS NULL")


def _texts() -> None:
    op.create_table(
        "subject_key",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=True),
        sa.Column("master_key", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("destroyed_us", sa.BigInteger, nullable=True),
    )
    _partial("subject_key_in_use", "subject_key", ["subject"], "destroyed_us IS NULL", unique=True)
    op.create_table(
        "audit_content",
        sa.Column("entry_id", sa.String(36), sa.ForeignKey("audit_entry.entry_id"), primary_key=True),
        sa.Column("ordinal", sa.Integer, primary_key=True),
        sa.Column("key_id", sa.String(36), sa.ForeignKey("subject_key.key_id"), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_text",
        sa.Column("text_id", sa.String(43), primary_key=True),
        sa.Column("key_id", sa.String(36), sa.ForeignKey("subject_key.key_id"), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def _operations() -> None:
    op.create_table(
        "outbox",
        sa.Column("entry_id", sa.String(36), sa.ForeignKey("audit_entry.entry_id"), primary_key=True),
        sa.Column("due_us", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("outbox_by_due", "outbox", ["due_us", "entry_id"])
    op.create_table(
        "audit_writer",
        sa.Column("writer_id", sa.String(36), primary_key=True),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
        sa.Column("padding", sa.LargeBinary, nullable=True),
    )


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _guard_sqlite() -> None:
    op.execute(
        f"CREATE TRIGGER audit_entry_no_update BEFORE UPDATE OF {', '.join(_FIXED)} ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER audit_entry_index_once BEFORE UPDATE OF leaf_index ON audit_entry "
        "WHEN OLD.leaf_index IS NOT NULL BEGIN SELECT RAISE(ABORT, 'leaf_index is given once'); END"
    )
    op.execute(
        "CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END"
    )
    # INSERT OR REPLACE deletes without firing delete triggers, so it is refused before it can
    op.execute(
        "CREATE TRIGGER audit_entry_no_replace BEFORE INSERT ON audit_entry "
        "WHEN EXISTS (SELECT 1 FROM audit_entry WHERE entry_id = NEW.entry_id "
        "OR (NEW.leaf_index IS NOT NULL AND leaf_index = NEW.leaf_index)) "
        "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END"
    )
    for table in ("audit_content", "audit_text"):
        op.execute(
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is written once'); END"
        )


def _guard_postgresql() -> None:
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in _FIXED)
    op.execute(
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    op.execute(
        "CREATE FUNCTION audit_entry_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' OR {changed} OR OLD.leaf_index IS NOT NULL THEN "
        "RAISE EXCEPTION 'audit_entry is append-only' USING ERRCODE = 'insufficient_privilege'; END IF; "
        "RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry "
        "FOR EACH ROW EXECUTE FUNCTION audit_entry_guard()"
    )
    op.execute(
        "CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )
    for table in ("audit_content", "audit_text"):
        op.execute(
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
        )
