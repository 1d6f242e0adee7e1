"""Keys as they are recognised on the API: in memory, read anew once a second, so that a request costs no query."""

import asyncio
import time
from collections.abc import Callable, Collection

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth.principal import Principal
from gateway.auth.tokens import TokenError
from gateway.ending.ended import OVERLAP_US, POLL_S
from gateway.keys import tables
from gateway.keys.key import Stored, parsed, stored
from gateway.problems import DatabaseUnavailableError

_UNCHECKED = "Keys cannot be checked while the database does not answer; try again shortly."
USED_EVERY_S = 30.0
"""How often the last uses are written."""


class RecognisedKeys:
    """Turns a key into its service account; notes when it was last used."""

    def __init__(
        self,
        engine: AsyncEngine,
        interval_s: float,
        *,
        unix_time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._interval_s = interval_s
        self._unix_time = unix_time
        self._monotonic = monotonic
        self._read_at = float("-inf")
        self._seen_us = 0
        self._keys: dict[str, Stored] = {}
        self._used: dict[str, int] = {}
        self._written_at = monotonic()
        self._looking = asyncio.Lock()

    async def refresh(self) -> None:
        """Read what changed, and write the last uses now and then. Raises `SQLAlchemyError`, `OSError`."""
        table, asked_at = tables.api_key, self._monotonic()
        query = sa.select(table).where(table.c.changed_us >= self._seen_us - OVERLAP_US)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        for row in rows:
            self._keys[row.key_id] = stored(row)
            self._seen_us = max(self._seen_us, row.changed_us)
        self._read_at = asked_at
        if self._used and asked_at - self._written_at >= USED_EVERY_S:
            await self.write_uses()

    async def write_uses(self) -> None:
        """Write when keys were last used."""
        used, self._used = self._used, {}
        self._written_at = self._monotonic()
        table = tables.api_key
        async with self._engine.begin() as connection:
            for key_id, at in used.items():
                later = sa.or_(table.c.last_used_at.is_(None), table.c.last_used_at < at)
                changing = sa.update(table).where(table.c.key_id == key_id, later)
                await connection.execute(changing.values(last_used_at=at))

    async def principal(self, token: str) -> Principal:
        """Return the service account. Raises `TokenError`, `DatabaseUnavailableError`."""
        found = parsed(token)
        if found is None:
            raise TokenError("key_malformed")
        key_id, secret = found
        now = int(self._unix_time())
        if key_id not in self._keys:
            await self._look_again(self._monotonic())
        if self._monotonic() - self._read_at > max(self._interval_s, 5 * POLL_S):
            raise DatabaseUnavailableError(_UNCHECKED, retry_after=5)
        known = self._keys.get(key_id)
        if known is None or not known.opens(secret, now):
            raise TokenError("key_unknown")
        state = known.key.state(now)
        if state != "active":
            raise TokenError(f"key_{state}")
        self._used[key_id] = now
        return known.key.principal()

    async def standing(self, ids: Collection[str]) -> dict[str, Principal]:
        """Return those of these keys that still count."""
        now = int(self._unix_time())
        found = {each: self._keys[each].key for each in ids if each in self._keys}
        return {each: key.principal() for each, key in found.items() if key.state(now) == "active"}

    async def _look_again(self, asked_at: float) -> None:
        """Read once more for a key that may have been made a moment ago; a flood of wrong ones shares one look."""
        async with self._looking:
            if self._read_at >= asked_at:
                return
            await asyncio.sleep(max(0.0, self._read_at + POLL_S / 4 - asked_at))
            await self._read_now()

    async def _read_now(self) -> None:
        try:
            await self.refresh()
        except (SQLAlchemyError, OSError):
            raise DatabaseUnavailableError(_UNCHECKED, retry_after=5) from None
