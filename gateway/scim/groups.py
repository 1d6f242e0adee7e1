"""Groups and their members in the database, in a transaction of the caller."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from scim2_models import InvalidValueException, NotFoundException, UniquenessException
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import now_us
from gateway.folding import folded
from gateway.identifiers import uuid7
from gateway.scim import tables
from gateway.scim.resources import MOST_MEMBERS, Group
from gateway.scim.stored import Found, Stored

_TABLE, _MEMBER = tables.group, tables.member
_AT_ONCE = 500
"""Rows that one statement names: databases bound the number of parameters."""
MOST_ON_A_PAGE = 50_000
"""Members of all groups on one page together; a page that would have more is shorter."""


class Membership(msgspec.Struct, frozen=True):
    """What a group's members shall be: those that it has (or nobody, where `cleared`), less these, and these."""

    cleared: bool = False
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


async def read(connection: AsyncConnection, group_id: str, *, members: bool = False) -> Stored[Group]:
    """Return a group. Raises `scim2_models.NotFoundException`."""
    row = (await connection.execute(sa.select(_TABLE).where(_TABLE.c.id == group_id))).one_or_none()
    if row is None:
        raise NotFoundException(detail="There is no such group.")
    return _stored(row, await members_of(connection, group_id) if members else ())


async def find(
    connection: AsyncConnection, where: sa.ColumnElement[bool] | None, start: int, count: int, *, members: bool
) -> Found[Group]:
    """Return at most `count` groups from the `start`th on (counted from 1), oldest first."""
    chosen = sa.true() if where is None else where
    total = (await connection.execute(sa.select(sa.func.count()).select_from(_TABLE).where(chosen))).scalar_one()
    page = sa.select(_TABLE).where(chosen).order_by(_TABLE.c.id).offset(start - 1).limit(count)
    rows = (await connection.execute(page)).all() if count else []
    found: list[Stored[Group]] = []
    on_page = 0
    for row in rows:
        of_group = await members_of(connection, row.id) if members else ()
        on_page += len(of_group)
        if found and on_page > MOST_ON_A_PAGE:
            break
        found.append(_stored(row, of_group))
    return Found(total, start, tuple(found))


async def members_of(connection: AsyncConnection, group_id: str) -> tuple[str, ...]:
    """Return the ids of the users of a group."""
    query = sa.select(_MEMBER.c.user_id).where(_MEMBER.c.group_id == group_id).order_by(_MEMBER.c.user_id)
    return tuple((await connection.execute(query)).scalars())


async def insert(connection: AsyncConnection, group: Group) -> Stored[Group]:
    """Add a group without members. Raises `scim2_models.UniquenessException`."""
    group_id, now = uuid7(), now_us()
    await _free(connection, group, group_id)
    values = _values(group) | {"id": group_id, "created_us": now, "changed_us": now, "version": 1}
    await connection.execute(sa.insert(_TABLE).values(**values))
    return await read(connection, group_id)


async def update(connection: AsyncConnection, before: Stored[Group], group: Group) -> Stored[Group]:
    """Write what a group is now. Raises `scim2_models.UniquenessException`."""
    await _free(connection, group, before.id)
    values = _values(group) | {"changed_us": max(now_us(), before.changed_us + 1), "version": before.version + 1}
    await connection.execute(sa.update(_TABLE).where(_TABLE.c.id == before.id).values(**values))
    return await read(connection, before.id)


async def change_members(
    connection: AsyncConnection, group_id: str, wanted: Membership
) -> tuple[frozenset[str], frozenset[str]]:
    """Change who is in a group; return who came and who went. Raises `scim2_models.InvalidValueException`."""
    before = frozenset(await members_of(connection, group_id))
    after = ((frozenset() if wanted.cleared else before) - wanted.removed) | wanted.added
    if len(after) > MOST_MEMBERS:
        raise InvalidValueException(detail=f"A group has at most {MOST_MEMBERS} members.")
    came, went = after - before, before - after
    await _check_known(connection, came)
    for some in _parts(sorted(went)):
        gone = sa.delete(_MEMBER).where(_MEMBER.c.group_id == group_id, _MEMBER.c.user_id.in_(some))
        await connection.execute(gone)
    for some in _parts(sorted(came)):
        await connection.execute(sa.insert(_MEMBER), [{"group_id": group_id, "user_id": user_id} for user_id in some])
    return came, went


async def delete(connection: AsyncConnection, group_id: str) -> None:
    """Remove a group from the directory."""
    await connection.execute(sa.delete(_MEMBER).where(_MEMBER.c.group_id == group_id))
    await connection.execute(sa.delete(_TABLE).where(_TABLE.c.id == group_id))


async def _check_known(connection: AsyncConnection, user_ids: Collection[str]) -> None:
    known = 0
    for some in _parts(sorted(user_ids)):
        query = sa.select(sa.func.count()).select_from(tables.user).where(tables.user.c.id.in_(some))
        known += (await connection.execute(query)).scalar_one()
    if known != len(user_ids):
        raise InvalidValueException(detail="members: each value must be the id of a user.")


def same(group: Group, other: Group) -> bool:
    """Whether the database would keep the same of both."""
    return _values(group) == _values(other)


async def _free(connection: AsyncConnection, group: Group, group_id: str) -> None:
    """Refuse names of others: asked first, since a broken constraint would end PostgreSQL's transaction."""
    same: list[sa.ColumnElement[bool]] = [_TABLE.c.display_name_key == folded(group.display_name or "")]
    if group.external_id is not None:
        same.append(_TABLE.c.external_id == group.external_id)
    taken = sa.select(_TABLE.c.id).where(sa.or_(*same), _TABLE.c.id != group_id).limit(1)
    if (await connection.execute(taken)).first() is not None:
        raise UniquenessException(detail="Another group has this displayName or externalId.")


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE))


def _values(group: Group) -> dict[str, Any]:
    return {
        "external_id": group.external_id,
        "display_name": group.display_name,
        "display_name_key": folded(group.display_name or ""),
    }


def _stored(row: sa.Row[Any], members: tuple[str, ...]) -> Stored[Group]:
    group = Group(id=row.id, external_id=row.external_id, display_name=row.display_name)
    return Stored(row.id, group, row.version, row.created_us, row.changed_us, members)
