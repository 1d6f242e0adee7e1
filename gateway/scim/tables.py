"""The tables of SCIM's resources, as `migrations/versions/0013_scim.py` makes them."""

import sqlalchemy as sa

metadata = sa.MetaData()

user = sa.Table(
    "scim_user",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("external_id", sa.String(255), nullable=True, unique=True),
    sa.Column("user_name", sa.String(255), nullable=False),
    sa.Column("user_name_key", sa.Text, nullable=False, unique=True),
    sa.Column("display_name", sa.String(255), nullable=True),
    sa.Column("display_name_key", sa.Text, nullable=True, index=True),
    sa.Column("active", sa.Boolean, nullable=True, index=True),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("changed_us", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)
"""One row per user. `…_key`: what comparisons without regard to case use. `active` is NULL where nothing was said.
`profile`: name and e-mail addresses as JSON. Times are microseconds since 1970 UTC."""

group = sa.Table(
    "scim_group",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("external_id", sa.String(255), nullable=True, unique=True),
    sa.Column("display_name", sa.String(255), nullable=False),
    sa.Column("display_name_key", sa.Text, nullable=False, unique=True),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("changed_us", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

member = sa.Table(
    "scim_member",
    metadata,
    sa.Column("group_id", sa.String(36), sa.ForeignKey("scim_group.id"), primary_key=True),
    sa.Column("user_id", sa.String(36), sa.ForeignKey("scim_user.id"), primary_key=True, index=True),
)
