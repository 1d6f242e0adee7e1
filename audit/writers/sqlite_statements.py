"""What the writer on SQLite says to the database."""

import sqlite3
from collections.abc import Iterable

from audit.keys import SubjectKey
from audit.ring import KEY_COLUMNS, KeyDestroyedError
from audit.rows import COLUMNS, ON_CONFLICT

LOOKUP = 500
"""Most parameters of one look-up."""
INSERT = {
    table: f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names are ours
    + ON_CONFLICT.get(table, "")
    for table, columns in COLUMNS.items()
}
INSERT["audit_facet"] = INSERT["audit_facet"].replace(
    "(?, ?, ?, ?)", "(?1, ?2, COALESCE((SELECT opened_us FROM audit_turn WHERE turn_id = ?4), ?3), ?4)"
)
INSERT_KEY = f"INSERT INTO subject_key ({', '.join(KEY_COLUMNS)}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - names are ours
FIND_KEY = "SELECT key_id, wrapped FROM subject_key WHERE subject = ? AND destroyed_us IS NULL"
IN_USE = "SELECT 1 FROM subject_key WHERE key_id = ? AND destroyed_us IS NULL"


def known_texts(connection: sqlite3.Connection, text_ids: Iterable[str]) -> set[str]:
    """Return which of these dialogue texts are stored."""
    wanted = list(text_ids)
    known: set[str] = set()
    for start in range(0, len(wanted), LOOKUP):
        part = wanted[start : start + LOOKUP]
        marks = ", ".join("?" * len(part))
        found = connection.execute(f"SELECT text_id FROM audit_text WHERE text_id IN ({marks})", part)  # noqa: S608 - only question marks
        known.update(row[0] for row in found)
    return known


def check_still_so(connection: sqlite3.Connection, keys: Iterable[SubjectKey], texts: frozenset[str]) -> None:
    """Raise `KeyDestroyedError` unless, under the write lock, the keys are in use and the texts are there."""
    if not all(connection.execute(IN_USE, (key.key_id,)).fetchone() for key in keys):
        raise KeyDestroyedError
    if known_texts(connection, texts) != texts:
        raise KeyDestroyedError
