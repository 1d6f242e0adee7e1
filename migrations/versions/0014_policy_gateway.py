"""What each running gateway judges by."""

import sqlalchemy as sa
from alembic import op

revision = "0014_policy_gateway"
down_revision = "0013_scim"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_gateway",
        sa.Column("gateway_id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version_id", sa.String(36), nullable=False),
        sa.Column("policy_hash", sa.String(64), nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("trouble", sa.String(16), nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("policy_gateway")
