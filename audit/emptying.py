"""Texts under keys that were destroyed, removed: nobody can read them, so they may go in small parts.

Turns wait for a transaction that writes. What is left when a process ends is removed by whoever goes on with the
erasure.
"""

import asyncio
import time

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import Governor
from audit.pruning import parts
from audit.tables import AUDIT_CONTENT, AUDIT_ENTRY, AUDIT_TEXT, SUBJECT_KEY

ROWS = 1000
"""Dialogue texts, and records with texts, that go in one transaction."""


async def empty_some(connection: AsyncConnection, subject: str, keys: tuple[str, ...], after: str = "") -> str | None:
    """Remove texts of a person under some keys, those of records with larger ids than `after`, at most `ROWS` of each.

    Returns after which record it goes on; None when nothing is left.
    """
    text, entry = AUDIT_TEXT.c, AUDIT_ENTRY.c
    texts = (await connection.execute(select(text.text_id).where(text.key_id.in_(keys)).limit(ROWS))).scalars().all()
    for part in parts(texts):
        await connection.execute(delete(AUDIT_TEXT).where(text.text_id.in_(part)))
    theirs = select(entry.entry_id).where(entry.subject == subject, entry.entry_id > after).order_by(entry.entry_id)
    records = (await connection.execute(theirs.limit(ROWS))).scalars().all()
    for part in parts(records):
        of_records = AUDIT_CONTENT.c.entry_id.in_(part) & AUDIT_CONTENT.c.key_id.in_(keys)
        await connection.execute(delete(AUDIT_CONTENT).where(of_records))
    if len(texts) < ROWS and len(records) < ROWS:
        return None
    return records[-1] if records else after


async def empty(governor: Governor, subject: str) -> None:
    """Remove every text of a person under destroyed keys. Raises `AuditUnavailableError`; what was done stands."""
    key, after = SUBJECT_KEY.c, ""
    destroyed = select(key.key_id).where(key.subject == subject, key.destroyed_us.is_not(None))
    async with governor.reading() as connection:
        keys = tuple((await connection.execute(destroyed)).scalars())
    while True:
        began = time.monotonic()
        async with governor.transaction() as connection:
            more = await empty_some(connection, subject, keys, after)
        if more is None:
            return
        after = more
        # Turns that waited for the lock come first: on SQLite it goes to whoever happens to ask for it.
        await asyncio.sleep(time.monotonic() - began)
