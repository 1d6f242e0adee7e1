"""Proof: tiles and checkpoints of the tree, pruning in place, dead letters, search facets, holds, erasures, anchors."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from audit.canonical import column, unescape

revision = "0004_proof"
down_revision = "0003_history"
branch_labels = None
depends_on = None

_PAGE = 500
_DAYS_KEPT = 180
_FIXED = ("entry_id", "leaf", "leaf_hash", "kind", "at_us", "subject", "turn_id")
_NEVER = ("entry_id", "leaf_hash", "leaf_index", "kind", "at_us")
_WRITTEN_ONCE = {"audit_tile": ("level", "position"), "audit_checkpoint": ("tree_size",)}
_TABLES = ("anchor", "approval", "erasure", "hold", "audit_facet", "audit_checkpoint", "audit_tile")


def upgrade() -> None:
    _tree()
    _facets()
    _governance()
    op.add_column("outbox", sa.Column("dead_us", sa.BigInteger, nullable=True))
    op.create_index(
        "audit_entry_unsequenced",
        "audit_entry",
        ["entry_id"],
        sqlite_where=sa.text("leaf_index IS NULL"),
        postgresql_where=sa.text("leaf_index IS NULL"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()
    _fill_facets()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_entry_no_update")
        op.execute(
            f"CREATE TRIGGER audit_entry_no_update BEFORE UPDATE OF {', '.join(_FIXED)} ON audit_entry "
            "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END"
        )
    else:
        changed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in _FIXED)
        _entry_guard(f"IF TG_OP = 'DELETE' OR {changed} OR OLD.leaf_index IS NOT NULL THEN ")
    op.drop_index("audit_entry_unsequenced", "audit_entry")
    op.drop_column("outbox", "dead_us")
    for table in _TABLES:
        op.drop_table(table)


def _tree() -> None:
    op.create_table(
        "audit_tile",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root_hash", sa.LargeBinary, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_checkpoint",
        sa.Column("tree_size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root_hash", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )


def _facets() -> None:
    op.create_table(
        "audit_facet",
        sa.Column("facet", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("opened_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("turn_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )


def _governance() -> None:
    op.create_table(
        "hold",
        sa.Column("hold_id", sa.String(36), primary_key=True),
        sa.Column("case_number", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False, server_default=""),
        sa.Column("conversation_id", sa.Text, nullable=False, server_default=""),
        sa.Column("since_us", sa.BigInteger, nullable=True),
        sa.Column("until_us", sa.BigInteger, nullable=True),
        sa.Column("placed_by", sa.Text, nullable=False),
        sa.Column("placed_us", sa.BigInteger, nullable=False),
        sa.Column("released_by", sa.Text, nullable=False, server_default=""),
        sa.Column("released_us", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "erasure",
        sa.Column("erasure_id", sa.String(36), primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("case_number", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("done_us", sa.BigInteger, nullable=True),
    )
    op.create_index("erasure_by_state", "erasure", ["state", "subject"])
    op.create_table(
        "approval",
        sa.Column("approval_id", sa.String(36), primary_key=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_us", sa.BigInteger, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False, server_default=""),
        sa.Column("decided_us", sa.BigInteger, nullable=True),
        sa.Column("decision", sa.Text, nullable=False, server_default=""),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "anchor",
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("tree_size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
    )


def _guard_sqlite() -> None:
    kept = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in _NEVER)
    op.execute("DROP TRIGGER audit_entry_no_update")
    op.execute(
        f"CREATE TRIGGER audit_entry_no_update BEFORE UPDATE OF {', '.join(_FIXED)} ON audit_entry "
        f"WHEN NOT (OLD.leaf_index IS NOT NULL AND NEW.leaf IS x'' AND {kept} "
        "AND (NEW.subject = '' OR NEW.subject IS OLD.subject) AND (NEW.turn_id = '' OR NEW.turn_id IS OLD.turn_id) "
        f"AND OLD.at_us < (CAST(strftime('%s', 'now') AS INTEGER) - {_DAYS_KEPT * 86_400}) * 1000000) "
        "BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END"
    )
    for table, keys in _WRITTEN_ONCE.items():
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        # INSERT OR REPLACE deletes without firing delete triggers
        same = " AND ".join(f"{key} = NEW.{key}" for key in keys)
        there = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - names are ours
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _guard_postgresql() -> None:
    kept = " AND ".join(f"NEW.{name} IS NOT DISTINCT FROM OLD.{name}" for name in _NEVER)
    changed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in _FIXED)
    pruned = (
        f"OLD.leaf_index IS NOT NULL AND octet_length(NEW.leaf) = 0 AND {kept} "
        "AND NEW.subject IN ('', OLD.subject) AND NEW.turn_id IN ('', OLD.turn_id) "
        f"AND OLD.at_us < (extract(epoch FROM clock_timestamp()) - {_DAYS_KEPT * 86_400}) * 1000000"
    )
    _entry_guard(
        f"IF TG_OP = 'UPDATE' AND {pruned} THEN RETURN NEW; END IF; "
        f"IF TG_OP = 'DELETE' OR {changed} OR OLD.leaf_index IS NOT NULL THEN "
    )
    for table in _WRITTEN_ONCE:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        )


def _entry_guard(until_refusal: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION audit_entry_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"{until_refusal}"
        "RAISE EXCEPTION 'audit_entry is append-only' USING ERRCODE = 'insufficient_privilege'; END IF; "
        "RETURN NEW; END $$"
    )


def _fill_facets() -> None:
    """Give the turns that are there already their facets, from their first and closing records."""
    connection, after = op.get_bind(), ""
    query = sa.text(
        "SELECT t.turn_id, t.opened_us, o.leaf AS opened, c.leaf AS closed FROM audit_turn t "
        "JOIN audit_entry o ON o.entry_id = t.opened_entry LEFT JOIN audit_entry c ON c.entry_id = t.closed_entry "
        "WHERE t.turn_id > :after ORDER BY t.turn_id LIMIT :page"
    )
    insert = sa.text("INSERT INTO audit_facet (facet, value, opened_us, turn_id) VALUES (:facet, :value, :at, :turn)")
    while rows := connection.execute(query, {"after": after, "page": _PAGE}).all():
        facets = [
            {"facet": facet, "value": value, "at": row.opened_us, "turn": row.turn_id}
            for row in rows
            for facet, value in sorted({pair for leaf in (row.opened, row.closed) for pair in _facets_of(leaf)})
        ]
        if facets:
            connection.execute(insert, facets)
        after = rows[-1].turn_id


def _facets_of(leaf: bytes | None) -> Iterator[tuple[str, str]]:
    fields: dict[str, Any] = json.loads(leaf) if leaf else {}
    findings = fields.get("findings", [])
    values = {
        "category": [*fields.get("categories", []), *(one["category"] for one in findings)],
        "rule": [one["rule"] for one in findings],
    }
    if fields.get("kind") in ("turn.accepted", "turn.refused"):
        values |= {
            "group": fields.get("groups", []),
            "role": fields.get("roles", []),
            "model": [fields.get("model", "")],
        }
    for facet, several in values.items():
        for value in several:
            if value:
                yield facet, column(unescape(value) if fields.get("escaped") else value)
