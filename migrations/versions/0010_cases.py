"""Cases of compliance and saved searches."""

import sqlalchemy as sa
from alembic import op

revision = "0010_cases"
down_revision = "0009_api_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "compliance_case",
        sa.Column("case_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Text, nullable=False, unique=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        sa.Column("closed_by", sa.Text, nullable=False, server_default=""),
        sa.Column("closed_us", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "compliance_case_turn",
        sa.Column("case_id", sa.String(36), sa.ForeignKey("compliance_case.case_id"), primary_key=True),
        sa.Column("turn_id", sa.Text, primary_key=True),
        sa.Column("added_by", sa.Text, nullable=False),
        sa.Column("added_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "compliance_case_note",
        sa.Column("entry_id", sa.String(36), primary_key=True),
        sa.Column("case_id", sa.String(36), sa.ForeignKey("compliance_case.case_id"), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("compliance_case_note_by_case", "compliance_case_note", ["case_id", "entry_id"])
    op.create_table(
        "saved_search",
        sa.Column("search_id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("saved_search_by_owner", "saved_search", ["owner", "search_id"])


def downgrade() -> None:
    for table in ("saved_search", "compliance_case_note", "compliance_case_turn", "compliance_case"):
        op.drop_table(table)
