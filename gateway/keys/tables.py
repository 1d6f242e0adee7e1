"""The table of service accounts' keys, as `migrations/versions/0009_api_keys.py` makes it."""

import sqlalchemy as sa

metadata = sa.MetaData()

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("models", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("previous_until", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger, nullable=True),
    sa.Column("last_used_at", sa.BigInteger, nullable=True),
    sa.Column("changed_us", sa.BigInteger, nullable=False, index=True),
)
"""One row per key, for good: a revoked one stays for whoever reads the log. Only the SHA-256 of the secret is kept (256
random bits need no slow hash). Times are whole seconds of Unix time; `roles` and `models` are JSON arrays."""
