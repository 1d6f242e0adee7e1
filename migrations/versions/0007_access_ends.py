"""Access that ends: sessions that are checked against the provider, and whose access has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0007_access_ends"
down_revision = "0006_facets_by_turn"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Sessions from before cannot be checked: everybody signs in once more, most without noticing.
    op.execute("DELETE FROM signin_session")
    op.add_column("signin_session", sa.Column("sealed_refresh_token", sa.LargeBinary, nullable=True))
    op.add_column("signin_session", sa.Column("checked_at", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("signin_session", sa.Column("checking_until", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "access_ended",
        sa.Column("scope", sa.String(16), primary_key=True),
        sa.Column("value", sa.String(255), primary_key=True),
        sa.Column("group_name", sa.String(255), primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("lasting", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("ended_by", sa.String(255), nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_access_ended_changed_us", "access_ended", ["changed_us"])
    op.create_table(
        "logout_token",
        sa.Column("jti_hash", sa.String(64), primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_logout_token_expires_at", "logout_token", ["expires_at"])


def downgrade() -> None:
    op.drop_table("logout_token")
    op.drop_table("access_ended")
    op.drop_column("signin_session", "checking_until")
    op.drop_column("signin_session", "checked_at")
    op.drop_column("signin_session", "sealed_refresh_token")
