"""The tables of sign-in, as `migrations/versions/0002_sessions.py` and `0007_access_ends.py` make them.

Times are whole seconds of Unix time.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

session = sa.Table(
    "signin_session",
    metadata,
    sa.Column("id_hash", sa.String(64), primary_key=True),
    sa.Column("subject", sa.String(255), nullable=False, index=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("groups", sa.Text, nullable=False),
    sa.Column("provider_session", sa.String(255), nullable=False, index=True),
    sa.Column("sealed_id_token", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("sealed_refresh_token", sa.LargeBinary, nullable=True),
    sa.Column("checked_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("checking_until", sa.BigInteger, nullable=False, server_default="0"),
)
"""One row per signed-in browser. The cookie's id is nowhere: only its SHA-256. `checked_at`: when the provider last
stood by it; `checking_until`: until then one gateway asks, and the others wait."""

pending = sa.Table(
    "signin_pending",
    metadata,
    sa.Column("state_hash", sa.String(64), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
"""One row per sign-in under way, taken out by its one use. Its content opens only with the browser's own cookie."""
