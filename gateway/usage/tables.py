"""The tables of usage and budgets, as `migrations/versions/0011_usage.py` makes them."""

import sqlalchemy as sa

metadata = sa.MetaData()

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("scope", sa.String(8), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("turns", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
)
"""What was used on a day (`2026-11-28`, in the zone of the budgets) by a person or a group (`scope`)."""

counter = sa.Table(
    "budget_counter",
    metadata,
    sa.Column("period", sa.String(10), primary_key=True),
    sa.Column("scope", sa.String(8), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("turns", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
)
"""What counts against a budget in a day (`2026-11-28`) or month (`2026-11`): used, or held by a turn that runs."""
