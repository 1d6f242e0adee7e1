"""A large honest log on SQLite, made in bulk of the writer's own rows: what writers and sequencer would leave."""

import itertools
import sqlite3
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from audit.canonical import column
from audit.checkpoint import Checkpoint, signed
from audit.keys import FileMasterKey, SubjectKey
from audit.record import Content, Entry, Kind, StageRecord
from audit.ring import KeyRing
from audit.rows import Row, RowMaker, Rows, name_texts
from audit.signing import SigningKeys
from audit.tiles import TileEdge
from audit.writers.sqlite_statements import INSERT, INSERT_KEY
from migrations.run import upgrade

PAGE = 4000
"""Turns that are written at once, and then signed."""
QUESTION = "What does the contract of {} say about notice periods? "
STAGES = tuple(
    StageRecord(f"input.{name}", "ran", 64, 0.25)
    for name in ("personal_data", "secrets", "prompt_attack", "classifier")
)


def turns(count: int, texts_of: int = 0, end: datetime | None = None) -> Iterator[tuple[Entry, Entry]]:
    """Yield the opening and the closing record of each turn, over the last hours; every nth turn has its texts."""
    end = end or datetime.now(UTC)
    for at in range(count):
        opened = end - timedelta(milliseconds=20 * (count - at))
        told = texts_of and at % texts_of == 0
        question = (QUESTION.format(at) * 4)[:200]
        common = {
            "subject": f"person-{at % 500}",
            "turn_id": f"01a00000-0000-7000-8000-{at:012x}",
            "conversation_id": f"conversation-{at // 5}",
            "groups": ("staff", f"team-{at % 40}"),
            "roles": ("staff",),
            "surface": "page.stream",
            "model": "large" if at % 3 else "small",
            "policy_hash": "ab" * 32,
            "verdict": "allow",
            "stages": STAGES,
        }
        asked = (Content("message", "user", question),) if told else ()
        answered = (Content("delivered", "assistant", question[::-1]),) if told else ()
        yield (
            Entry(kind=Kind.TURN_ACCEPTED, at=opened, contents=asked, **common),
            Entry(kind=Kind.TURN_COMPLETED, at=opened + timedelta(seconds=1), length=200, contents=answered, **common),
        )


class BigLog:
    """Fills one database; `waiting` leaves every record in the outbox."""

    def __init__(self, database: Path, keys: SigningKeys, master: FileMasterKey, *, waiting: bool = False) -> None:
        upgrade(f"sqlite+aiosqlite:///{database}")
        self._connection = sqlite3.connect(database)
        self._connection.execute("PRAGMA synchronous=OFF")
        self._signers = keys.load_or_create()
        self._ring = KeyRing(master)
        self._rows = RowMaker("bench")
        self._edge = TileEdge()
        self._waiting = waiting

    def fill(self, pairs: Iterable[tuple[Entry, Entry]]) -> int:
        """Write turns; return the number of records."""
        pairs = iter(pairs)
        while page := list(itertools.islice(pairs, PAGE)):
            self._write([entry for pair in page for entry in pair])
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        return self._edge.size

    def _write(self, entries: list[Entry]) -> None:
        keys = {column(entry.subject): self._key(column(entry.subject)) for entry in entries}
        made, _ = self._rows.make(name_texts(entries, keys), keys, set())
        made.merge_turns()
        with self._connection:
            self._insert(made)
            first = self._edge.size
            tiles = self._edge.extend([row[2] for row in made.by_table["audit_entry"]])
            places = ((first + nth, row[0]) for nth, row in enumerate(made.by_table["audit_entry"]))
            self._connection.executemany("UPDATE audit_entry SET leaf_index = ? WHERE entry_id = ?", places)
            self._connection.executemany(
                "INSERT INTO audit_tile (level, position, root_hash, hashes) VALUES (?,?,?,?)", tiles
            )
            note = signed(Checkpoint(self._signers.origin, self._edge.size, self._edge.root()), self._signers.signing)
            self._connection.execute(
                "INSERT INTO audit_checkpoint (tree_size, root_hash, note, at_us) VALUES (?,?,?,?)",
                (self._edge.size, self._edge.root(), note, time.time_ns() // 1000),
            )

    def _insert(self, made: Rows) -> None:
        for table, rows in made.by_table.items():
            if table != "outbox" or self._waiting:
                self._connection.executemany(INSERT[table], rows)

    def _key(self, subject: str) -> SubjectKey:
        key = self._ring.cached(subject)
        if key is None:
            row: Row = self._ring.new_row(subject)
            with self._connection:
                self._connection.execute(INSERT_KEY, row)
            key = self._ring.open(row[0], row[1], row[2])
        return key
