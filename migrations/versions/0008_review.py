"""The review queue, and what became of an appeal beside the messages of its turn."""

import sqlalchemy as sa
from alembic import op

revision = "0008_review"
down_revision = "0007_access_ends"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "review",
        sa.Column("turn_id", sa.String(36), primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        sa.Column("blocked", sa.Boolean, nullable=False),
        sa.Column("twice", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("assigned_to", sa.Text, nullable=False, server_default=""),
        sa.Column("outcome", sa.Text, nullable=False, server_default=""),
        sa.Column("decided_us", sa.BigInteger, nullable=True),
    )
    op.create_index("review_waiting", "review", ["outcome", "source", "opened_us", "turn_id"])
    op.create_table(
        "review_label",
        sa.Column("turn_id", sa.String(36), sa.ForeignKey("review.turn_id"), primary_key=True),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("harmful", sa.Boolean, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("categories", sa.Text, nullable=False),
        sa.Column("labelled_us", sa.BigInteger, nullable=False),
    )
    op.create_index("review_label_by_reviewer", "review_label", ["turn_id", "reviewer"], unique=True)
    op.create_table(
        "review_progress",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("next_index", sa.BigInteger, nullable=False),
    )
    op.add_column("message", sa.Column("appeal", sa.String(16), nullable=False, server_default=""))
    op.add_column("message", sa.Column("appeal_note", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("message", "appeal_note")
    op.drop_column("message", "appeal")
    for table in ("review_progress", "review_label", "review"):
        op.drop_table(table)
