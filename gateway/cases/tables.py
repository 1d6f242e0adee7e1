"""Tables of cases and saved searches; a step in `migrations/versions` makes them."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

CASE = Table(
    "compliance_case",
    metadata,
    Column("case_id", String(36), primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("purpose", Text, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("closed_by", Text, nullable=False, server_default=""),
    Column("closed_us", BigInteger, nullable=True),
)
"""Open while `closed_us` is NULL."""

CASE_TURN = Table(
    "compliance_case_turn",
    metadata,
    Column("case_id", String(36), ForeignKey("compliance_case.case_id"), primary_key=True),
    Column("turn_id", Text, primary_key=True),
    Column("added_by", Text, nullable=False),
    Column("added_us", BigInteger, nullable=False),
)
"""Turns collected in a case."""

CASE_NOTE = Table(
    "compliance_case_note",
    metadata,
    Column("entry_id", String(36), primary_key=True),
    Column("case_id", String(36), ForeignKey("compliance_case.case_id"), nullable=False),
    Column("author", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("compliance_case_note_by_case", "case_id", "entry_id"),
)
"""Notes: the text is that of the record with this id, encrypted in the audit log, and nowhere else."""

SAVED_SEARCH = Table(
    "saved_search",
    metadata,
    Column("search_id", String(36), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("saved_search_by_owner", "owner", "search_id"),
)
"""An officer's searches; what is searched for stands in them encrypted."""
