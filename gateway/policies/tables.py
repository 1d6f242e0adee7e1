"""Tables of the policy's versions; `migrations/versions/` has the step. No text of a turn is in them."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

POLICY_VERSION = Table(
    "policy_version",
    metadata,
    Column("version_id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("policy_hash", String(64), nullable=False),
    Column("text_hash", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("added_by", Text, nullable=False),
    Column("added_us", BigInteger, nullable=False),
    Index("policy_version_by_text", "text_hash", unique=True),
)
"""Every text that was proposed or stood in a gateway's policy file, each once; `origin` is `person` or `file`."""

POLICY_ACTIVATION = Table(
    "policy_activation",
    metadata,
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("version_id", String(36), ForeignKey("policy_version.version_id"), nullable=False),
    Column("text_hash", String(64), nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("granted_by", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
"""What two people put in force, in order: the last one counts. While there is none, each gateway's file does."""

POLICY_TRIAL = Table(
    "policy_trial",
    metadata,
    Column("trial_id", String(36), primary_key=True),
    Column("version_id", String(36), ForeignKey("policy_version.version_id"), nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("began_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("result", Text, nullable=False),
    Index("policy_trial_by_version", "version_id", "trial_id"),
)
"""Versions tried on the history; `result` is JSON once `state` is `done`, and names turns by their ids alone."""

POLICY_GATEWAY = Table(
    "policy_gateway",
    metadata,
    Column("gateway_id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("version_id", String(36), nullable=False),
    Column("policy_hash", String(64), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("trouble", String(16), nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)
"""What each running gateway judges by, as it says itself; `ordinal` 0 is its policy file. A projection, no record."""
