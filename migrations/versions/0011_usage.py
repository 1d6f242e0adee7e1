"""Usage of people and groups, and what is counted against their budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0011_usage"
down_revision = "0010_cases"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("scope", sa.String(8), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_usage_name", "usage", ["scope", "name", "day"])
    op.create_table(
        "budget_counter",
        sa.Column("period", sa.String(10), primary_key=True),
        sa.Column("scope", sa.String(8), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("budget_counter")
    op.drop_table("usage")
