"""What the writer on PostgreSQL says to the database."""

from collections.abc import Iterable
from typing import Any

import asyncpg

from audit.keys import SubjectKey
from audit.ring import KEY_COLUMNS
from audit.rows import COLUMNS, ON_CONFLICT, NamedEntry, Rows

_TYPES = {"leaf": "bytea", "leaf_hash": "bytea", "wrapped_key": "bytea", "sealed": "bytea"}
_TYPES |= {"at_us": "bigint", "opened_us": "bigint", "ordinal": "integer"}


def _insert_everything() -> str:
    """Return one statement, hence one transaction and one round trip, that takes each column as an array.

    Its first two parameters are the keys in use and their versions (see `LOOK_UP`): a key that was destroyed or
    changed meanwhile becomes NULL, which the tables refuse.
    """
    parts, at = [_KEYS_IN_USE], 2
    for table, columns in COLUMNS.items():
        arrays = ", ".join(f"${at + nth}::{_TYPES.get(name, 'text')}[]" for nth, name in enumerate(columns, 1))
        at += len(columns)
        source = f"SELECT * FROM unnest({arrays})"  # noqa: S608 - names are ours
        if "key_id" in columns:
            names = ", ".join("alive.key_id" if name == "key_id" else f"given.{name}" for name in columns)
            source = (
                f"SELECT {names} FROM unnest({arrays}) AS given ({', '.join(columns)})"  # noqa: S608 - names are ours
                " LEFT JOIN alive ON alive.key_id = given.key_id ORDER BY 1"  # one order everywhere: no deadlock
            )
        if table == "audit_facet":
            source = (
                "SELECT facet, value, COALESCE(audit_turn.opened_us, given.opened_us), given.turn_id"  # noqa: S608 - names are ours
                f" FROM unnest({arrays}) AS given ({', '.join(columns)}) LEFT JOIN audit_turn USING (turn_id)"
            )
        parts.append(f"INSERT INTO {table} ({', '.join(columns)}) {source}{ON_CONFLICT.get(table, '')}")
    alive, *middle, last = parts
    return f"WITH {alive}, " + ", ".join(f"part{nth} AS ({part})" for nth, part in enumerate(middle)) + " " + last


_KEYS_IN_USE = (
    "alive AS MATERIALIZED (SELECT subject_key.key_id FROM subject_key"
    " JOIN unnest($1::text[], $2::text[]) AS opened (key_id, version) ON opened.key_id = subject_key.key_id"
    " WHERE subject_key.destroyed_us IS NULL AND subject_key.xmin::text = opened.version"
    " FOR KEY SHARE OF subject_key)"  # waits for an erasure under way, then looks again
)
LOOK_UP = (
    "SELECT text_id, '' AS version FROM audit_text WHERE text_id = ANY($1::text[])"
    " UNION ALL SELECT key_id, xmin::text FROM subject_key WHERE key_id = ANY($2::text[])"
)
"""Dialogue texts that are stored, and the versions of the keys in the same view of the database. Whoever removes texts
touches their key's row, so that a key's version still being the same means that those texts are still there."""
INSERT = _insert_everything()
INSERT_KEY = f"INSERT INTO subject_key ({', '.join(KEY_COLUMNS)}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"  # noqa: S608 - names are ours
FIND_KEY = "SELECT key_id, wrapped FROM subject_key WHERE subject = $1 AND destroyed_us IS NULL"


async def look_up(
    connection: "asyncpg.Connection", named: list[tuple[NamedEntry, ...]], keys: Iterable[SubjectKey]
) -> tuple[set[str], dict[str, str]]:
    """Return which dialogue texts are stored, and the keys' versions."""
    key_ids = {key.key_id for key in keys}
    wanted = {text.text_id for several in named for one in several for text in one.texts}
    if not key_ids:
        return set(), {}
    rows = await connection.fetch(LOOK_UP, list(wanted), list(key_ids))
    found = {row["text_id"]: row["version"] for row in rows}
    versions = {key_id: found.pop(key_id) for key_id in key_ids if key_id in found}
    return set(found), versions


def arrays(rows: Rows, table: str) -> list[list[Any]]:
    """Return the rows of a table as one array for each column."""
    return [[row[at] for row in rows.by_table[table]] for at in range(len(COLUMNS[table]))]
