"""The tables of access that ends, as `migrations/versions/0007_access_ends.py` makes them."""

import sqlalchemy as sa

metadata = sa.MetaData()

ended = sa.Table(
    "access_ended",
    metadata,
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("value", sa.String(255), primary_key=True),
    sa.Column("group_name", sa.String(255), primary_key=True),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("lasting", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("ended_by", sa.String(255), nullable=False),
    sa.Column("changed_us", sa.BigInteger, nullable=False, index=True),
)
"""What has ended: `scope` says what `value` is (`gateway.ending.ended.Scope`). `since` is whole seconds of Unix time:
whatever was given out until then no longer counts. `lasting`: nothing counts until it is restored. `group_name`: only
this group of the person; empty: everything."""

logout_token = sa.Table(
    "logout_token",
    metadata,
    sa.Column("jti_hash", sa.String(64), primary_key=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
"""Logout tokens that were used: each counts once (SHA-256 of its `jti`), and is remembered while it could be valid."""
