"""Sign-ins under way, in the database: what the callback must find again."""

import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.auth import tables
from gateway.auth.sealing import fingerprint, looks_like_secret, seal, unseal

PENDING_S = 600
"""A sign-in must be finished within this time."""
PENDING_LIMIT = 20_000
"""Sign-ins under way at the same time; more can only be a flood."""
PENDING_SWEEP_S = 5
_SIGN_IN = b"sign-in"


class SignInUnderWay(msgspec.Struct, frozen=True):
    """What the callback must find again: the id token's nonce, the PKCE verifier, and where the person wanted to go."""

    nonce: str
    verifier: str
    return_to: str


class SignIns:
    """Sign-ins under way: one row each, taken out by its one use, readable only with the browser's own cookie."""

    def __init__(self, engine: AsyncEngine, unix_time: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._unix_time = unix_time
        self._swept_at = 0

    async def keep(self, browser: str, state: str, under_way: SignInUnderWay) -> None:
        """Keep one for ten minutes. In a flood the oldest go first, so that nobody is locked out for long."""
        now, row = int(self._unix_time()), fingerprint(state)
        sealed = seal(browser, _SIGN_IN, msgspec.json.encode(under_way), row)
        async with self._engine.begin() as connection:
            if now - self._swept_at >= PENDING_SWEEP_S:
                self._swept_at = now
                await self._sweep(connection, now)
            values = {"state_hash": row, "sealed": sealed, "expires_at": now + PENDING_S}
            await connection.execute(sa.insert(tables.pending).values(**values))

    async def take(self, browser: str, state: str) -> SignInUnderWay | None:
        """Take one out; None when it is unknown, used, too old, or another browser's."""
        if not looks_like_secret(browser) or not looks_like_secret(state):
            return None
        now, row, table = int(self._unix_time()), fingerprint(state), tables.pending
        async with self._engine.begin() as connection:
            taking = sa.delete(table).where(table.c.state_hash == row).returning(table.c.sealed, table.c.expires_at)
            found = (await connection.execute(taking)).one_or_none()
        if found is None or found.expires_at <= now:
            return None
        plain = unseal(browser, _SIGN_IN, found.sealed, row)
        return None if plain is None else msgspec.json.decode(plain, type=SignInUnderWay)

    async def _sweep(self, connection: AsyncConnection, now: int) -> None:
        table = tables.pending
        newest_first = sa.select(table.c.expires_at).order_by(table.c.expires_at.desc())
        first_too_many = (await connection.execute(newest_first.offset(PENDING_LIMIT).limit(1))).scalar_one_or_none()
        too_old = now if first_too_many is None else max(now, first_too_many)
        await connection.execute(sa.delete(table).where(table.c.expires_at <= too_old))
