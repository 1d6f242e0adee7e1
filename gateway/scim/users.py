"""Users in the database, in a transaction of the caller."""

from typing import Any

import msgspec
import sqlalchemy as sa
from scim2_models import NotFoundException, UniquenessException
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import now_us
from gateway.folding import folded
from gateway.identifiers import uuid7
from gateway.scim import tables
from gateway.scim.resources import User
from gateway.scim.stored import Found, Stored

_TABLE = tables.user
TAKEN = "Another user has this userName or externalId."


async def read(connection: AsyncConnection, user_id: str) -> Stored[User]:
    """Return a user. Raises `scim2_models.NotFoundException`."""
    row = (await connection.execute(sa.select(_TABLE).where(_TABLE.c.id == user_id))).one_or_none()
    if row is None:
        raise NotFoundException(detail="There is no such user.")
    return _stored(row)


async def find(
    connection: AsyncConnection, where: sa.ColumnElement[bool] | None, start: int, count: int
) -> Found[User]:
    """Return `count` users from the `start`th on (counted from 1), oldest first."""
    chosen = sa.true() if where is None else where
    total = (await connection.execute(sa.select(sa.func.count()).select_from(_TABLE).where(chosen))).scalar_one()
    page = sa.select(_TABLE).where(chosen).order_by(_TABLE.c.id).offset(start - 1).limit(count)
    rows = (await connection.execute(page)).all() if count else []
    return Found(total, start, tuple(_stored(row) for row in rows))


async def insert(connection: AsyncConnection, user: User) -> Stored[User]:
    """Add a user. Raises `scim2_models.UniquenessException`."""
    user_id, now = uuid7(), now_us()
    await _free(connection, user, user_id)
    values = _values(user) | {"id": user_id, "created_us": now, "changed_us": now, "version": 1}
    await connection.execute(sa.insert(_TABLE).values(**values))
    return await read(connection, user_id)


async def update(connection: AsyncConnection, before: Stored[User], user: User) -> Stored[User]:
    """Write what a user is now. Raises `scim2_models.UniquenessException`."""
    await _free(connection, user, before.id)
    values = _values(user) | {"changed_us": max(now_us(), before.changed_us + 1), "version": before.version + 1}
    await connection.execute(sa.update(_TABLE).where(_TABLE.c.id == before.id).values(**values))
    return await read(connection, before.id)


async def delete(connection: AsyncConnection, user_id: str) -> None:
    """Remove a user from the directory and its groups."""
    await connection.execute(sa.delete(tables.member).where(tables.member.c.user_id == user_id))
    await connection.execute(sa.delete(_TABLE).where(_TABLE.c.id == user_id))


def same(user: User, other: User) -> bool:
    """Whether the database would keep the same of both."""
    return _values(user) == _values(other)


async def _free(connection: AsyncConnection, user: User, user_id: str) -> None:
    """Refuse names of others: asked first, since a broken constraint would end PostgreSQL's transaction."""
    same: list[sa.ColumnElement[bool]] = [_TABLE.c.user_name_key == folded(user.user_name or "")]
    if user.external_id is not None:
        same.append(_TABLE.c.external_id == user.external_id)
    taken = sa.select(_TABLE.c.id).where(sa.or_(*same), _TABLE.c.id != user_id).limit(1)
    if (await connection.execute(taken)).first() is not None:
        raise UniquenessException(detail=TAKEN)


def _values(user: User) -> dict[str, Any]:
    profile = user.model_dump(include={"name", "emails"}, scim_ctx=None, exclude_none=True)
    return {
        "external_id": user.external_id,
        "user_name": user.user_name,
        "user_name_key": folded(user.user_name or ""),
        "display_name": user.display_name,
        "display_name_key": None if user.display_name is None else folded(user.display_name),
        "active": user.active,
        "profile": msgspec.json.encode(profile).decode(),
    }


def _stored(row: sa.Row[Any]) -> Stored[User]:
    user = User(
        id=row.id,
        external_id=row.external_id,
        user_name=row.user_name,
        display_name=row.display_name,
        active=row.active,
        **msgspec.json.decode(row.profile),
    )
    return Stored(row.id, user, row.version, row.created_us, row.changed_us)
