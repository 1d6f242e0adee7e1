"""Browser sessions and sign-ins under way, both in the database.

The cookie carries a random 256-bit id; the database holds its SHA-256 only, so that a copy of the database opens no
session. A sign-in always makes a new id and ends the old one (session fixation).
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
from litestar.datastructures import Cookie
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.auth import tables
from gateway.auth.principal import Principal
from gateway.auth.roles import RoleMap
from gateway.auth.sealing import fingerprint, looks_like_secret, new_secret, seal, unseal
from gateway.settings import LOOPBACK, Environment, Settings

TOUCH_S = 60
"""A session's last use is written at most this often, so that a turn rarely writes."""
PENDING_S = 600
"""A sign-in must be finished within this time."""
PENDING_LIMIT = 20_000
"""Sign-ins under way at the same time; more can only be a flood."""
PENDING_SWEEP_S = 5
SWEEP_S = 60
_ID_TOKEN = b"id token"
_SIGN_IN = b"sign-in"


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
        self, engine: AsyncEngine, roles: RoleMap, times: SessionTimes, unix_time: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._roles = roles
        self._times = times
        self._unix_time = unix_time
        self._swept_at = 0

    async def open(self, principal: Principal, provider_session: str, id_token: str, replaces: str | None) -> str:
        """Make a session under a new id, end the one it replaces, and return the id for the cookie."""
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
            "created_at": now,
            "seen_at": now,
            "expires_at": now + self._times.lifetime,
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
        table, row, now = tables.session, fingerprint(secret), int(self._unix_time())
        query = sa.select(table.c.subject, table.c.name, table.c.groups, table.c.seen_at)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query.where(table.c.id_hash == row, ~self._over(now)))).one_or_none()
        if found is None:
            return None
        if now - found.seen_at >= TOUCH_S:
            await self._touch(row, now)
        return self._principal(found.subject, found.name, found.groups)

    async def end(self, secret: str) -> Ended | None:
        """End the session of this cookie; return who it was, or None when there was none."""
        if not looks_like_secret(secret):
            return None
        table, row = tables.session, fingerprint(secret)
        kept = (table.c.subject, table.c.name, table.c.groups, table.c.sealed_id_token)
        async with self._engine.begin() as connection:
            ending = sa.delete(table).where(table.c.id_hash == row).returning(*kept)
            found = (await connection.execute(ending)).one_or_none()
        if found is None:
            return None
        id_token = unseal(secret, _ID_TOKEN, found.sealed_id_token, row) or b""
        return Ended(self._principal(found.subject, found.name, found.groups), id_token.decode())

    def _principal(self, subject: str, name: str, stored_groups: str) -> Principal:
        groups = msgspec.json.decode(stored_groups, type=tuple[str, ...])
        return Principal(subject=subject, name=name, groups=groups, roles=self._roles.roles(groups), session=True)

    def _over(self, now: int) -> sa.ColumnElement[bool]:
        table = tables.session
        return sa.or_(table.c.expires_at <= now, table.c.seen_at <= now - self._times.idle)

    async def _touch(self, row: str, now: int) -> None:
        table = tables.session
        stale = sa.and_(table.c.id_hash == row, table.c.seen_at <= now - TOUCH_S)
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(table).where(stale).values(seen_at=now))


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
