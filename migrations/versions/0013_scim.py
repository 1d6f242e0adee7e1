"""Users and groups as the identity provider's provisioning client (SCIM 2.0) says they are."""

import sqlalchemy as sa
from alembic import op

revision = "0013_scim"
down_revision = "0012_policy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scim_user",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("external_id", sa.String(255), nullable=True, unique=True),
        sa.Column("user_name", sa.String(255), nullable=False),
        sa.Column("user_name_key", sa.Text, nullable=False, unique=True),
        sa.Column("display_name", sa.String(255), nullable=True),
        sa.Column("display_name_key", sa.Text, nullable=True),
        sa.Column("active", sa.Boolean, nullable=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_scim_user_display_name_key", "scim_user", ["display_name_key"])
    op.create_index("ix_scim_user_active", "scim_user", ["active"])
    op.create_table(
        "scim_group",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("external_id", sa.String(255), nullable=True, unique=True),
        sa.Column("display_name", sa.String(255), nullable=False),
        sa.Column("display_name_key", sa.Text, nullable=False, unique=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "scim_member",
        sa.Column("group_id", sa.String(36), sa.ForeignKey("scim_group.id"), primary_key=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("scim_user.id"), primary_key=True),
    )
    op.create_index("ix_scim_member_user_id", "scim_member", ["user_id"])


def downgrade() -> None:
    op.drop_table("scim_member")
    op.drop_table("scim_group")
    op.drop_table("scim_user")
