"""Dialogue texts that no record refers to any more, removed: what pruning leaves behind.

A text is stored once for each person however many turns it was part of, so it can only go with the last of them. Which
turns refer to it stand in the leaves alone; a person's are read one after the other, and the texts that none names are
removed in transactions that look once more at what was written meanwhile. Each is short: turns wait for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec
from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import Governor
from audit.pruning import parts
from audit.record import Kind
from audit.tables import AUDIT_ENTRY, AUDIT_TEXT, SUBJECT_KEY

_PAGE = 500
_AT_ONCE = 100_000
"""Texts of which the ids are in memory; for each so many a person's records are read once."""
_IN_ONE_TRANSACTION = 1000
_WRITTEN_MEANWHILE_S = 3600
"""Records this much older than the first look are looked at again: ids of several processes do not rise together."""


class _Context(msgspec.Struct, frozen=True):
    context: tuple[str, ...] = ()


class TextSweep:
    """Removes such texts, one person after another."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    async def run(self) -> int:
        """Return how many texts were removed. Raises `AuditUnavailableError`."""
        removed = 0
        async for key_id, subject in self._keys():
            removed += await self._sweep(key_id, subject)
        return removed

    async def _keys(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the keys that texts stand under, with their subjects."""
        key, after = SUBJECT_KEY.c, ""
        has_texts = exists().where(AUDIT_TEXT.c.key_id == key.key_id)
        while True:
            query = select(key.key_id, key.subject).where(key.destroyed_us.is_(None), has_texts, key.key_id > after)
            async with self._governor.reading() as connection:
                rows = (await connection.execute(query.order_by(key.key_id).limit(_PAGE))).all()
            for row in rows:
                yield row.key_id, row.subject
            if len(rows) < _PAGE:
                return
            after = rows[-1].key_id

    async def _sweep(self, key_id: str, subject: str) -> int:
        removed, after = 0, ""
        while True:
            query = select(AUDIT_TEXT.c.text_id).where(AUDIT_TEXT.c.key_id == key_id, AUDIT_TEXT.c.text_id > after)
            async with self._governor.reading() as connection:
                found = (await connection.execute(query.order_by(AUDIT_TEXT.c.text_id).limit(_AT_ONCE))).scalars().all()
            if found:
                removed += await self._sweep_some(key_id, subject, set(found))
            if len(found) < _AT_ONCE:
                return removed
            after = found[-1]

    async def _sweep_some(self, key_id: str, subject: str, texts: set[str]) -> int:
        """Remove those of some texts that no record names; return how many."""
        meanwhile = _Meanwhile(subject, _smallest_id(time.time() - _WRITTEN_MEANWHILE_S))
        async with self._governor.reading() as connection:
            await _take_named(connection, subject, texts, meanwhile)
        unnamed, removed = sorted(texts), 0
        for start in range(0, len(unnamed), _IN_ONE_TRANSACTION):
            began = time.monotonic()
            removed += await self._remove(key_id, unnamed[start : start + _IN_ONE_TRANSACTION], meanwhile)
            # Turns that waited for the lock come first: on SQLite it goes to whoever happens to ask for it.
            await asyncio.sleep(time.monotonic() - began)
        return removed

    async def _remove(self, key_id: str, texts: Sequence[str], meanwhile: "_Meanwhile") -> int:
        async with self._governor.transaction() as connection:
            key = SUBJECT_KEY.c.key_id == key_id
            if self._governor.postgresql:
                # Waits for writers that use the key; its new version tells the next ones to look again which texts
                # are there (audit.writers.postgres_statements).
                await connection.execute(select(SUBJECT_KEY.c.key_id).where(key).with_for_update())
                await connection.execute(update(SUBJECT_KEY).where(key).values(created_us=SUBJECT_KEY.c.created_us))
            await meanwhile.look(connection)
            doomed = [one for one in texts if one not in meanwhile.named]
            for part in parts(doomed):
                await connection.execute(delete(AUDIT_TEXT).where(AUDIT_TEXT.c.text_id.in_(part)))
        return len(doomed)


class _Meanwhile:
    """What a person's newest records refer to. Each is read once: what is looked at under the lock is little."""

    def __init__(self, subject: str, after: str) -> None:
        """`after`: the id that newer records have a larger one than."""
        self.after = after
        self.named: set[str] = set()
        self.seen: set[str] = set()
        self._subject = subject

    async def look(self, connection: AsyncConnection) -> None:
        """Take the records that were not seen yet."""
        entry = AUDIT_ENTRY.c
        newer = select(entry.entry_id).where(
            entry.subject == self._subject, entry.entry_id > self.after, entry.kind == Kind.TURN_ACCEPTED
        )
        unseen = sorted(set((await connection.execute(newer)).scalars()) - self.seen)
        for part in parts(unseen):
            leaves = select(entry.leaf).where(entry.entry_id.in_(part), func.length(entry.leaf) > 0)
            for leaf in (await connection.execute(leaves)).scalars():
                self.named.update(_context(leaf))
        self.seen.update(unseen)


async def _take_named(connection: AsyncConnection, subject: str, texts: set[str], meanwhile: _Meanwhile) -> None:
    """Take out of some texts those that a person's records refer to."""
    entry, after = AUDIT_ENTRY.c, ""
    while True:
        query = (
            select(entry.entry_id, entry.leaf)
            .where(entry.subject == subject, entry.entry_id > after, entry.kind == Kind.TURN_ACCEPTED)
            .where(func.length(entry.leaf) > 0)
            .order_by(entry.entry_id)
            .limit(_PAGE)
        )
        rows = (await connection.execute(query)).all()
        for row in rows:
            texts.difference_update(_context(row.leaf))
        meanwhile.seen.update(row.entry_id for row in rows if row.entry_id > meanwhile.after)
        if len(rows) < _PAGE:
            return
        after = rows[-1].entry_id


def _context(leaf: bytes) -> tuple[str, ...]:
    return msgspec.json.decode(leaf, type=_Context).context


def _smallest_id(at: float) -> str:
    """Return the smallest UUIDv7 of a time in seconds since 1970."""
    milliseconds = f"{max(0, int(at * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-000000000000"
