"""Sign-in: browser sessions and sign-ins under way."""

import sqlalchemy as sa
from alembic import op

revision = "0002_sessions"
down_revision = "0001_audit"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signin_session",
        sa.Column("id_hash", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("provider_session", sa.String(255), nullable=False),
        sa.Column("sealed_id_token", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_signin_session_subject", "signin_session", ["subject"])
    op.create_index("ix_signin_session_provider_session", "signin_session", ["provider_session"])
    op.create_index("ix_signin_session_seen_at", "signin_session", ["seen_at"])
    op.create_table(
        "signin_pending",
        sa.Column("state_hash", sa.String(64), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_signin_pending_expires_at", "signin_pending", ["expires_at"])


def downgrade() -> None:
    op.drop_table("signin_pending")
    op.drop_table("signin_session")
