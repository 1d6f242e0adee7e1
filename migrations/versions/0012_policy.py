"""Versions of the policy, their activations and trials."""

import sqlalchemy as sa
from alembic import op

revision = "0012_policy"
down_revision = "0011_usage"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_version",
        sa.Column("version_id", sa.String(36), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("policy_hash", sa.String(64), nullable=False),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("added_by", sa.Text, nullable=False),
        sa.Column("added_us", sa.BigInteger, nullable=False),
    )
    op.create_index("policy_version_by_text", "policy_version", ["text_hash"], unique=True)
    version = sa.ForeignKey("policy_version.version_id")
    op.create_table(
        "policy_activation",
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version_id", sa.String(36), version, nullable=False),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("granted_by", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "policy_trial",
        sa.Column("trial_id", sa.String(36), primary_key=True),
        sa.Column("version_id", sa.String(36), sa.ForeignKey("policy_version.version_id"), nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("began_us", sa.BigInteger, nullable=False),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
    )
    op.create_index("policy_trial_by_version", "policy_trial", ["version_id", "trial_id"])


def downgrade() -> None:
    for table in ("policy_trial", "policy_activation", "policy_version"):
        op.drop_table(table)
