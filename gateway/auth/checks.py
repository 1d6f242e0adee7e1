"""Whether the provider still stands by a session: asked again with its refresh token, at least once an interval.

The refresh token is kept encrypted under a key that follows from the master key, and replaced by the one that each
answer brings (RFC 9700, section 4.14). One gateway asks for a session at a time. From half an interval on it is asked
in the background, so that a short outage of the provider is not noticed; after a whole interval without an answer the
session counts for nothing until one comes.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth import tables
from gateway.auth.oidc import OidcClient, Renewed, SignInError
from gateway.auth.roles import RoleMap
from gateway.auth.sealing import seal, unseal
from gateway.ending.endings import Endings
from gateway.problems import ProviderUnavailableError

CLAIM_S = 15
"""A gateway that asks for a session has this long; then another one may."""
PAUSE_S = 2
"""After a question without an answer the session is left alone for this long."""
_WAIT_S = 0.1
_REFRESH_TOKEN = b"refresh token"


class SessionChecks:
    """Asks the provider about sessions, and ends those that it no longer stands by."""

    def __init__(
        self,
        engine: AsyncEngine,
        oidc: OidcClient,
        roles: RoleMap,
        endings: Endings,
        *,
        key: bytes,
        interval_s: int,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._oidc = oidc
        self._roles = roles
        self._endings = endings
        self._secret = key.hex()
        self._interval_s = interval_s
        self._unix_time = unix_time
        self._asking: dict[str, asyncio.Task[None]] = {}

    def sealed(self, refresh_token: str, id_hash: str) -> bytes:
        """Return a refresh token as the database may hold it."""
        return seal(self._secret, _REFRESH_TOKEN, refresh_token.encode(), id_hash)

    async def checked(self, row: sa.Row[Any]) -> sa.Row[Any] | None:
        """Return the session as it stands, or None when it has ended.

        Raises `ProviderUnavailableError` when the provider did not answer for a whole interval.
        """
        age = int(self._unix_time()) - row.checked_at
        # Without a refresh token there is nothing to ask with: such a session ends with its first access token.
        if row.sealed_refresh_token is None or age < self._interval_s / 2:
            return row
        asking = self._ask(row)
        if age < self._interval_s:
            return row
        await asyncio.wait([asking])
        again = await self._read(row.id_hash)
        if again is not None and int(self._unix_time()) - again.checked_at >= self._interval_s:
            raise ProviderUnavailableError("Your session cannot be checked now; try again shortly.", retry_after=5)
        return again

    async def close(self) -> None:
        """Wait for the questions under way: a rotated token must not get lost."""
        if self._asking:
            await asyncio.wait(tuple(self._asking.values()), timeout=CLAIM_S)

    def _ask(self, row: sa.Row[Any]) -> asyncio.Task[None]:
        task = self._asking.get(row.id_hash)
        if task is None:
            task = self._asking[row.id_hash] = asyncio.create_task(self._check(row))
            task.add_done_callback(lambda done: self._settle(row.id_hash, done))
        return task

    def _settle(self, id_hash: str, task: asyncio.Task[None]) -> None:
        self._asking.pop(id_hash, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            structlog.get_logger("attest.auth").error("session.check_failed", error=type(error).__name__)

    async def _check(self, row: sa.Row[Any]) -> None:
        if not await self._claim(row):
            await self._wait_for_other(row)
            return
        token = unseal(self._secret, _REFRESH_TOKEN, row.sealed_refresh_token, row.id_hash)
        if token is None:
            await self._endings.end_session(row.id_hash, reason="unreadable")
            return
        try:
            renewed = await self._oidc.renew(token.decode(), row.subject)
        except SignInError as error:
            await self._endings.end_session(row.id_hash, reason=f"provider_{error.reason}")
        except ProviderUnavailableError:
            await self._write(row.id_hash, checking_until=int(self._unix_time()) + PAUSE_S)
        else:
            await self._keep(row, renewed)

    async def _keep(self, row: sa.Row[Any], renewed: Renewed) -> None:
        sealed, now = self.sealed(renewed.refresh_token, row.id_hash), int(self._unix_time())
        if renewed.claims is None:
            await self._write(row.id_hash, sealed_refresh_token=sealed, checking_until=now + PAUSE_S)
            return
        old = msgspec.json.decode(row.groups, type=tuple[str, ...])
        # Only where the provider said nothing of the person at all does it stand by what it said before.
        groups = self._roles.groups(renewed.claims) if renewed.claims else old
        values: dict[str, Any] = {
            "sealed_refresh_token": sealed,
            "checked_at": now,
            "checking_until": 0,
            "groups": msgspec.json.encode(groups).decode(),
        }
        if not self._roles.roles(groups):
            await self._endings.end_session(row.id_hash, reason="no_role")
        elif set(groups) != set(old):
            await self._endings.moved(row.id_hash, values, groups, gone=sorted(set(old) - set(groups)))
        else:
            await self._write(row.id_hash, **values)

    async def _claim(self, row: sa.Row[Any]) -> bool:
        table, now = tables.session, int(self._unix_time())
        mine = sa.and_(
            table.c.id_hash == row.id_hash,
            table.c.checked_at == row.checked_at,
            # An answer that says nothing of the person brings a new token, too: nobody asks with the old one.
            table.c.sealed_refresh_token == row.sealed_refresh_token,
            table.c.checking_until <= now,
        )
        async with self._engine.begin() as connection:
            claimed = await connection.execute(sa.update(table).where(mine).values(checking_until=now + CLAIM_S))
        return claimed.rowcount == 1

    async def _wait_for_other(self, row: sa.Row[Any]) -> None:
        """Wait until the gateway that asks has its answer, or has given up."""
        end = time.monotonic() + CLAIM_S
        while time.monotonic() < end:
            again = await self._read(row.id_hash)
            if again is None or again.checked_at != row.checked_at or again.checking_until <= self._unix_time():
                return
            await asyncio.sleep(_WAIT_S)

    async def _read(self, id_hash: str) -> sa.Row[Any] | None:
        table = tables.session
        async with self._engine.connect() as connection:
            return (await connection.execute(sa.select(table).where(table.c.id_hash == id_hash))).one_or_none()

    async def _write(self, id_hash: str, **values: Any) -> None:
        table = tables.session
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(table).where(table.c.id_hash == id_hash).values(**values))
