"""Records of any kind found by who made them and about whom: who read what. From SQL, in bounded pages."""

import asyncio
import hashlib
import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.canonical import column, text_bytes
from audit.record import Entry, Kind
from audit.rows import microseconds
from audit.search.ports import Position
from audit.search.query import LONGEST_VALUE, Order, QueryError
from audit.search.reading import reading
from audit.tables import AUDIT_ENTRY
from audit.trail import checked_entry

ACCESS_KINDS = (Kind.ACCESS_SEARCH, Kind.ACCESS_READ, Kind.ACCESS_EXPORT, Kind.ACCESS_DENIED)
WINDOW = 1000
"""Records of each kind that one page looks at where `subject` is asked for, which no index knows."""
ABOUT = ("subject", "of_subject", "held_subject")
"""Where `detail` says about whom a record is."""
SLACK = timedelta(days=1)
"""How far the time in a record's id may be from the record's own time."""


class RecordQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to find; empty fields do not filter."""

    kinds: tuple[Kind, ...] = ACCESS_KINDS
    officer: str = ""
    """Who did it: the record's own subject."""
    subject: str = ""
    """About whom it is: the person whose turns were searched for, read, exported or held."""
    since: datetime | None = None
    until: datetime | None = None
    order: Order = Order.NEWEST

    def checked(self) -> "RecordQuery":
        """Return the query itself. Raises `QueryError`."""
        for name in ("officer", "subject"):
            if len(getattr(self, name)) > LONGEST_VALUE:
                raise QueryError(name, f"at most {LONGEST_VALUE} characters")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise QueryError("until", "must be later than since")
        return self

    def filters(self) -> dict[str, str]:
        """Return what is asked for, as records say it."""
        given = msgspec.to_builtins(self) | {"kinds": ",".join(sorted(kind.value for kind in self.kinds))}
        return {name: str(value) for name, value in given.items() if value and name != "order"}

    def fingerprint(self) -> bytes:
        """Return bytes that differ for different queries."""
        told = repr((sorted(self.filters().items()), self.order.value))
        return hashlib.sha256(b"records" + text_bytes(told)).digest()


class RecordPage(msgspec.Struct, frozen=True):
    """Some of the records, in order of their ids."""

    records: tuple[Entry, ...]
    reached: Position | None
    """How far was looked; None: to the end. A page may be short, even empty, and not be the last."""


class RecordSearch:
    """Finds records. Raises `AuditUnavailableError`, and `AuditIntegrityError` for a leaf that was altered."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(self, query: RecordQuery, after: Position | None, limit: int) -> RecordPage:
        """Return the next records behind a position, at most `limit`."""
        newest = query.order is Order.NEWEST
        window = WINDOW if query.subject else limit + 1
        async with reading(self._engine) as connection:
            walks = [
                (await connection.execute(_walk(query, kind, after, window))).all()
                for kind in dict.fromkeys(query.kinds)
            ]
        rows = list(heapq.merge(*walks, key=lambda row: row.entry_id, reverse=newest))[:window]
        found, place = await asyncio.to_thread(_matching, query, rows, limit)
        at_the_end = len(rows) < window and (not rows or place == rows[-1].entry_id)
        return RecordPage(found, None if at_the_end else Position(0, place))


def _walk(query: RecordQuery, kind: Kind, after: Position | None, window: int) -> Select[Any]:
    """Return a walk over one kind's records, or one officer's of that kind, in order of their ids."""
    entry = AUDIT_ENTRY.c
    newest = query.order is Order.NEWEST
    rows = select(entry.entry_id, entry.leaf, entry.leaf_hash).where(entry.kind == kind.value)
    if query.officer:
        rows = rows.where(entry.subject == column(query.officer))
    if after is not None:
        rows = rows.where(entry.entry_id < after.id if newest else entry.entry_id > after.id)
    if query.since is not None:
        rows = rows.where(entry.at_us >= microseconds(query.since), entry.entry_id >= id_at(query.since, -SLACK))
    if query.until is not None:
        rows = rows.where(entry.at_us < microseconds(query.until), entry.entry_id <= id_at(query.until, SLACK))
    return rows.order_by(entry.entry_id.desc() if newest else entry.entry_id).limit(window)


def id_at(moment: datetime, slack: timedelta) -> str:
    """Return the beginning of ids made at a time (UUIDv7: milliseconds since 1970 first)."""
    milliseconds = max(0, microseconds(moment) // 1000 + slack // timedelta(milliseconds=1))
    digits = f"{min(milliseconds, 2**48 - 1):012x}"
    return f"{digits[:8]}-{digits[8:]}-"


def _matching(query: RecordQuery, rows: Sequence[Any], limit: int) -> tuple[tuple[Entry, ...], str]:
    found: list[Entry] = []
    place = ""
    for row in rows:
        place = row.entry_id
        if row.leaf:  # an empty one was pruned
            entry = checked_entry(row.leaf, row.leaf_hash)
            if not query.subject or query.subject in {entry.detail.get(name) for name in ABOUT}:
                found.append(entry)
        if len(found) == limit:
            break
    return tuple(found), place
