"""Holds by what turns are found by, and by turns that are named one by one."""

import sqlalchemy as sa
from alembic import op

revision = "0015_hold_by_query"
down_revision = "0014_policy_gateway"
branch_labels = None
depends_on = None

_FOUND_BY = ("group", "verdict", "category", "rule", "model")


def upgrade() -> None:
    for name in _FOUND_BY:
        op.add_column("hold", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("hold", sa.Column("turns", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "hold_turn",
        sa.Column("hold_id", sa.String(36), primary_key=True),
        sa.Column("turn_id", sa.Text, primary_key=True),
    )
    op.create_index("hold_turn_by_turn", "hold_turn", ["turn_id"])


def downgrade() -> None:
    op.drop_table("hold_turn")
    for name in ("turns", *reversed(_FOUND_BY)):
        op.drop_column("hold", name)
