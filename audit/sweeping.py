"""Dialogue texts that no record refers to any more, removed: what pruning leaves behind.

A text is stored once for each person however many turns it was part of, so it can only go with the last of them. Which
turns refer to it stand in the leaves alone; a person's are read one after the other, and the texts that none names are
removed in a transaction that looks once more at what was written meanwhile.
"""

import time
from collections.abc import AsyncIterator

import msgspec
from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import Governor
from audit.record import Kind
from audit.tables import AUDIT_ENTRY, AUDIT_TEXT, SUBJECT_KEY

_PAGE = 500
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
        meanwhile = _smallest_id(time.time() - _WRITTEN_MEANWHILE_S)
        async with self._governor.reading() as connection:
            stored = select(AUDIT_TEXT.c.text_id).where(AUDIT_TEXT.c.key_id == key_id)
            texts = set((await connection.execute(stored)).scalars())
            texts -= await _named(connection, subject, "")
        if not texts:
            return 0
        async with self._governor.transaction() as connection:
            key = SUBJECT_KEY.c.key_id == key_id
            if self._governor.postgresql:
                # Waits for writers that use the key; its new version tells the next ones to look again which texts
                # are there (audit.writers.postgres_statements).
                await connection.execute(select(SUBJECT_KEY.c.key_id).where(key).with_for_update())
                await connection.execute(update(SUBJECT_KEY).where(key).values(created_us=SUBJECT_KEY.c.created_us))
            texts -= await _named(connection, subject, meanwhile)
            doomed = sorted(texts)
            for start in range(0, len(doomed), _PAGE):
                part = doomed[start : start + _PAGE]
                await connection.execute(delete(AUDIT_TEXT).where(AUDIT_TEXT.c.text_id.in_(part)))
        return len(doomed)


async def _named(connection: AsyncConnection, subject: str, after: str) -> set[str]:
    """Return the texts that a person's records after an id refer to."""
    entry = AUDIT_ENTRY.c
    named: set[str] = set()
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
            named.update(msgspec.json.decode(row.leaf, type=_Context).context)
        if len(rows) < _PAGE:
            return named
        after = rows[-1].entry_id


def _smallest_id(at: float) -> str:
    """Return the smallest UUIDv7 of a time in seconds since 1970."""
    milliseconds = f"{max(0, int(at * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-000000000000"
