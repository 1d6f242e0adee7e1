"""Keys of service accounts: made, rotated, revoked and listed. The change and its record are one transaction."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us
from audit.record import Entry, Kind
from gateway.auth.principal import Role
from gateway.auth.sealing import fingerprint, new_secret
from gateway.keys import tables
from gateway.keys.key import ApiKey, new_key_id, stored, written

DAY_S = 86_400
LONGEST_DAYS = 366
LONGEST_OVERLAP_S = 7 * DAY_S
_NAME_LIMIT, _MODELS_LIMIT, _MODEL_LIMIT = 100, 50, 200


class NewKey(msgspec.Struct, frozen=True):
    """What a key shall be."""

    name: str
    roles: tuple[Role, ...]
    models: tuple[str, ...]
    days: int

    def checked(self) -> "NewKey":
        """Return it. Raises `GoverningError`."""
        name = " ".join(self.name.split())
        if not name or len(name) > _NAME_LIMIT or not name.isprintable():
            raise GoverningError(f"Give the key a name of at most {_NAME_LIMIT} printable characters.")
        if not self.roles:
            raise GoverningError("Give the key at least one role.")
        if Role.PROVISIONING in self.roles and (set(self.roles) != {Role.PROVISIONING} or self.models):
            raise GoverningError("A key with the role provisioning has no other role, and no models.")
        if len(self.models) > _MODELS_LIMIT or not all(0 < len(model) <= _MODEL_LIMIT for model in self.models):
            raise GoverningError(f"Name at most {_MODELS_LIMIT} models.")
        if not 1 <= self.days <= LONGEST_DAYS:
            raise GoverningError(f"A key lives between 1 and {LONGEST_DAYS} days.")
        return msgspec.structs.replace(self, name=name, roles=tuple(sorted(set(self.roles))))


class Made(msgspec.Struct, frozen=True):
    """A key and what its owner is given, once."""

    key: ApiKey
    token: str

    def __repr__(self) -> str:
        return f"Made({self.key.key_id})"


class ApiKeys:
    """The keys of one database. Raises `GoverningError` for what cannot be, `AuditUnavailableError`."""

    def __init__(self, governor: Governor, unix_time: Callable[[], float] = time.time) -> None:
        self._governor = governor
        self._unix_time = unix_time

    async def create(self, wanted: NewKey, by: str) -> Made:
        """Make a key; the token in the answer is nowhere else."""
        wanted = wanted.checked()
        now, secret, key_id = int(self._unix_time()), new_secret(), new_key_id()
        values: dict[str, Any] = {
            "key_id": key_id,
            "name": wanted.name,
            "roles": msgspec.json.encode(wanted.roles).decode(),
            "models": msgspec.json.encode(wanted.models).decode(),
            "secret_hash": fingerprint(secret),
            "previous_hash": "",
            "previous_until": 0,
            "created_at": now,
            "created_by": by[:255],
            "issued_at": now,
            "expires_at": now + wanted.days * DAY_S,
        }
        async with self._governor.transaction() as connection:
            values["changed_us"] = await _later(connection)
            await connection.execute(sa.insert(tables.api_key).values(**values))
            key = await self._read(connection, key_id)
            await self._record(connection, Kind.API_KEY_CREATED, key, by)
        return Made(key, written(key_id, secret))

    async def rotate(self, key_id: str, by: str, *, days: int, overlap_s: int) -> Made:
        """Give a key a new secret; the old one counts for `overlap_s` more seconds."""
        if not 0 <= overlap_s <= LONGEST_OVERLAP_S or not 1 <= days <= LONGEST_DAYS:
            raise GoverningError("The old secret may stay for at most 7 days, and a key for at most 366.")
        now, secret = int(self._unix_time()), new_secret()
        async with self._governor.transaction() as connection:
            key = await self._read(connection, key_id)
            if key.state(now) == "revoked":
                raise GoverningError("The key was revoked; make a new one.")
            table = tables.api_key
            values: dict[str, Any] = {
                "previous_hash": table.c.secret_hash,
                "previous_until": min(now + overlap_s, key.expires_at),
                "secret_hash": fingerprint(secret),
                "issued_at": now,
                "expires_at": now + days * DAY_S,
                "changed_us": await _later(connection),
            }
            await connection.execute(sa.update(table).where(table.c.key_id == key_id).values(**values))
            key = await self._read(connection, key_id)
            await self._record(connection, Kind.API_KEY_ROTATED, key, by)
        return Made(key, written(key_id, secret))

    async def revoke(self, key_id: str, by: str) -> ApiKey:
        """End a key for good, on every gateway within a second."""
        now, table = int(self._unix_time()), tables.api_key
        async with self._governor.transaction() as connection:
            key = await self._read(connection, key_id)
            if key.revoked_at is None:
                values = {"revoked_at": now, "changed_us": await _later(connection)}
                await connection.execute(sa.update(table).where(table.c.key_id == key_id).values(**values))
                key = await self._read(connection, key_id)
                await self._record(connection, Kind.API_KEY_REVOKED, key, by)
        return key

    async def key(self, key_id: str) -> ApiKey:
        """Return a key."""
        async with self._governor.reading() as connection:
            return await self._read(connection, key_id)

    async def listed(self) -> tuple[ApiKey, ...]:
        """Return every key, newest first."""
        query = sa.select(tables.api_key).order_by(tables.api_key.c.created_at.desc(), tables.api_key.c.key_id)
        async with self._governor.reading() as connection:
            return tuple(stored(row).key for row in await connection.execute(query))

    async def _read(self, connection: Any, key_id: str) -> ApiKey:
        table = tables.api_key
        query = sa.select(table).where(table.c.key_id == column(key_id))
        if (row := (await connection.execute(query)).one_or_none()) is None:
            raise UnknownError("There is no such key.")
        return stored(row).key

    async def _record(self, connection: Any, kind: Kind, key: ApiKey, by: str) -> None:
        detail: dict[str, str | int | float | bool] = {
            "by": by,
            "key_id": key.key_id,
            "models": ", ".join(key.models),
            "expires_at": moment(key.expires_at * 1_000_000).isoformat().replace("+00:00", "Z"),
        }
        entry = Entry(
            kind=kind,
            at=moment(now_us()),
            subject=key.subject,
            name=key.name,
            roles=tuple(sorted(key.roles)),
            detail=detail,
        )
        await self._governor.record(connection, entry)


async def _later(connection: AsyncConnection) -> int:
    """Return a time (µs) after every change of a key, also while the clock stands before the last one.

    Gateways ask for what is later than what they know: a change with an earlier time would never reach them.
    """
    last = await connection.scalar(sa.select(sa.func.max(tables.api_key.c.changed_us)))
    return max(now_us(), (last or 0) + 1)
