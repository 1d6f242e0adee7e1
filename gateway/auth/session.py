"""Browser sessions, in the database.

The cookie carries a random 256-bit id; the database holds its SHA-256 only, so that a copy of the database opens no
session. A sign-in always makes a new id and ends the old one (session fixation).
"""

import time
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
from litestar.datastructures import Cookie
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth import tables
from gateway.auth.checks import SessionChecks
from gateway.auth.principal import Credential, Principal
from gateway.auth.roles import RoleMap
from gateway.auth.sealing import fingerprint, looks_like_secret, new_secret, seal, unseal
from gateway.settings import LOOPBACK, Environment, Settings

TOUCH_S = 60
"""A session's last use is written at most this often, so that a turn rarely writes."""
SWEEP_S = 60
_ID_TOKEN = b"id token"


class SessionTimes(msgspec.Struct, frozen=True):
    """How long a session lives, in seconds."""

    idle: int
    lifetime: int


class Ended(msgspec.Struct, frozen=True):
    """What is known of a session that was just ended."""

    principal: Principal
    id_token: str


class Cookies(msgspec.Struct, frozen=True):
    """Names and attributes of the cookies; only development on plain-http loopback goes without Secure."""

    secure: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> "Cookies":
        """Decide by address and environment."""
        address = urlsplit(settings.base_url)
        plain_loopback = address.scheme == "http" and address.hostname in LOOPBACK
        return cls(secure=not (plain_loopback and settings.env is Environment.DEVELOPMENT))

    @property
    def session(self) -> str:
        """Name of the session's cookie."""
        return "__Host-attest" if self.secure else "attest"

    @property
    def sign_in(self) -> str:
        """Name of the cookie that binds a sign-in under way to its browser."""
        return "__Host-attest-sign-in" if self.secure else "attest-sign-in"

    def make(self, name: str, value: str, max_age: int | None = None) -> Cookie:
        """Return a cookie for this host alone, unreadable for scripts."""
        return Cookie(
            key=name, value=value, max_age=max_age, path="/", secure=self.secure, httponly=True, samesite="lax"
        )

    def drop(self, name: str) -> Cookie:
        """Return the cookie that makes the browser forget one."""
        return self.make(name, "", max_age=0)


class Sessions:
    """The sessions of every gateway on one database."""

    def __init__(
        self,
        engine: AsyncEngine,
        roles: RoleMap,
        times: SessionTimes,
        unix_time: Callable[[], float] = time.time,
        checks: SessionChecks | None = None,
    ) -> None:
        """Let `checks` ask the provider again; None: sessions stand until they are ended."""
        self._engine = engine
        self._roles = roles
        self._times = times
        self._unix_time = unix_time
        self._checks = checks
        self._swept_at = 0

    async def open(
        self,
        principal: Principal,
        provider_session: str,
        id_token: str,
        replaces: str | None,
        refresh_token: str = "",
        lives_s: int | None = None,
    ) -> str:
        """Make a session under a new id, end the one it replaces, and return the id for the cookie.

        `lives_s` is how long the provider stands by it where it gave no refresh token.
        """
        now = int(self._unix_time())
        secret = new_secret()
        row = fingerprint(secret)
        values = {
            "id_hash": row,
            "subject": principal.subject,
            "name": principal.name,
            "groups": msgspec.json.encode(principal.groups).decode(),
            "provider_session": provider_session[:255],
            "sealed_id_token": seal(secret, _ID_TOKEN, id_token.encode(), row),
            "sealed_refresh_token": self._checks.sealed(refresh_token, row)
            if self._checks is not None and refresh_token
            else None,
            "checked_at": now,
            "created_at": now,
            "seen_at": now,
            "expires_at": now + min(self._times.lifetime, self._times.lifetime if lives_s is None else lives_s),
        }
        table = tables.session
        async with self._engine.begin() as connection:
            if replaces and looks_like_secret(replaces):
                await connection.execute(sa.delete(table).where(table.c.id_hash == fingerprint(replaces)))
            await connection.execute(sa.insert(table).values(**values))
            if now - self._swept_at >= SWEEP_S:
                self._swept_at = now
                await connection.execute(sa.delete(table).where(self._over(now)))
        return secret

    async def find(self, secret: str) -> Principal | None:
        """Return who is signed in with this cookie, or None; note the use once a minute."""
        if not looks_like_secret(secret):
            return None
        row, now = fingerprint(secret), int(self._unix_time())
        found = await self._row(row, now)
        if found is None:
            return None
        if now - found.seen_at >= TOUCH_S:
            await self._touch(row, now)
        return self._principal(found)

    async def standing(self, ids: Collection[str]) -> dict[str, Principal]:
        """Return those of these sessions (by the hash of their ids) that still stand, as they stand now."""
        now, standing = int(self._unix_time()), {}
        for id_hash in ids:
            found = await self._row(id_hash, now)
            if found is not None:
                standing[id_hash] = self._principal(found)
        return standing

    async def _row(self, id_hash: str, now: int) -> sa.Row[Any] | None:
        table = tables.session
        query = sa.select(table).where(table.c.id_hash == id_hash, ~self._over(now))
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None or self._checks is None:
            return found
        return await self._checks.checked(found)

    async def end(self, secret: str) -> Ended | None:
        """End the session of this cookie; return who it was, or None when there was none."""
        if not looks_like_secret(secret):
            return None
        table, row = tables.session, fingerprint(secret)
        async with self._engine.begin() as connection:
            ending = sa.delete(table).where(table.c.id_hash == row).returning(table)
            found = (await connection.execute(ending)).one_or_none()
        if found is None:
            return None
        id_token = unseal(secret, _ID_TOKEN, found.sealed_id_token, row) or b""
        return Ended(self._principal(found), id_token.decode())

    def _principal(self, row: sa.Row[Any]) -> Principal:
        groups = msgspec.json.decode(row.groups, type=tuple[str, ...])
        credential = Credential("session", row.id_hash, row.created_at, row.provider_session)
        return Principal(row.subject, row.name, groups, self._roles.roles(groups), session=True, credential=credential)

    def _over(self, now: int) -> sa.ColumnElement[bool]:
        table = tables.session
        return sa.or_(table.c.expires_at <= now, table.c.seen_at <= now - self._times.idle)

    async def _touch(self, row: str, now: int) -> None:
        table = tables.session
        stale = sa.and_(table.c.id_hash == row, table.c.seen_at <= now - TOUCH_S)
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(table).where(stale).values(seen_at=now))
