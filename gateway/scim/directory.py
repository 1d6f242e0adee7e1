"""The directory: each change, what it does to access and the record that says so are one transaction."""

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
from scim2_models import PreconditionFailedException
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import Governor, moment, now_us
from audit.record import Entry, Kind
from gateway.scim import groups, tables, users
from gateway.scim.access import DirectoryAccess
from gateway.scim.groups import Membership
from gateway.scim.patching import Patch
from gateway.scim.resources import Group, User, keeping_id
from gateway.scim.stored import Found, Stored

_AT_ONCE = 500
Detail = dict[str, str | int | float | bool]


class Directory:
    """Users and groups. Raises `scim2_models.SCIMException`, `AuditUnavailableError`.

    `by` is the subject of the provisioning client; `match` the entity tags of `If-Match`, one of which must be the
    resource's (None: any).
    """

    def __init__(self, governor: Governor, access: DirectoryAccess) -> None:
        self._governor = governor
        self._access = access

    async def user(self, user_id: str) -> Stored[User]:
        """Return a user."""
        async with self._governor.reading() as connection:
            return await users.read(connection, user_id)

    async def users(self, where: sa.ColumnElement[bool] | None, start: int, count: int) -> Found[User]:
        """Return a page of users."""
        async with self._governor.reading() as connection:
            return await users.find(connection, where, start, count)

    async def unmatched(self, count: int) -> Found[User]:
        """Return users whose access no change of the directory ends or restores: they lack what says who they are."""
        return await self.users(self._access.unmatched(), 1, count)

    async def lift(self, subject: str, *, reason: str, by: str) -> bool:
        """Lift what keeps a person out, by an administrator; False: the directory has that person inactive."""
        async with self._governor.transaction() as connection:
            inactive = sa.and_(self._access.is_subject(subject), tables.user.c.active.is_(sa.false()))
            found = (await users.find(connection, inactive, 1, 1)).resources
            user = found[0].resource if found else None
            return await self._access.lift(connection, subject, user, reason=reason, by=by)

    async def group(self, group_id: str, *, members: bool) -> Stored[Group]:
        """Return a group, with its members where they are asked for."""
        async with self._governor.reading() as connection:
            return await groups.read(connection, group_id, members=members)

    async def groups(
        self, where: sa.ColumnElement[bool] | None, start: int, count: int, *, members: bool
    ) -> Found[Group]:
        """Return a page of groups, with their members where they are asked for."""
        async with self._governor.reading() as connection:
            return await groups.find(connection, where, start, count, members=members)

    async def create_user(self, user: User, by: str) -> Stored[User]:
        """Add a user."""
        async with self._governor.transaction() as connection:
            stored = await users.insert(connection, user)
            await self._access.user_is(connection, stored.resource, before=None)
            await self._record(connection, "created", by, user=stored)
        return stored

    async def replace_user(self, user_id: str, user: User, match: tuple[str, ...] | None, by: str) -> Stored[User]:
        """Write all that a user is; an `externalId` that it does not name stays."""

        def replaced(before: User) -> User:
            user.replace(before)
            return keeping_id(user, before)

        return await self._change_user(user_id, replaced, match, by, "replaced")

    async def patch_user(
        self, user_id: str, patch: Patch[User], match: tuple[str, ...] | None, by: str
    ) -> Stored[User]:
        """Change some of what a user is."""
        return await self._change_user(user_id, patch.applied, match, by, "patched")

    async def delete_user(self, user_id: str, match: tuple[str, ...] | None, by: str) -> None:
        """Remove a user; the access of that person ends."""
        async with self._governor.transaction() as connection:
            stored = await users.read(connection, user_id)
            _check(stored.etag, match)
            await users.delete(connection, user_id)
            await self._access.user_gone(connection, stored.resource)
            await self._record(connection, "deleted", by, user=stored)

    async def create_group(self, group: Group, members: frozenset[str], by: str) -> Stored[Group]:
        """Add a group with its members."""
        async with self._governor.transaction() as connection:
            stored = await groups.insert(connection, group)
            came, went = await groups.change_members(connection, stored.id, Membership(added=members))
            await self._moved(connection, None, stored, came, went)
            await self._record(connection, "created", by, group=stored, added=len(came))
            return await groups.read(connection, stored.id, members=True)

    async def replace_group(
        self, group_id: str, group: Group, members: frozenset[str], match: tuple[str, ...] | None, by: str
    ) -> Stored[Group]:
        """Write all that a group is, its members included; an `externalId` that it does not name stays."""

        def replaced(before: Group) -> Group:
            group.replace(before)
            return keeping_id(group, before)

        wanted = Membership(cleared=True, added=members)
        return await self._change_group(group_id, replaced, wanted, match, by, "replaced")

    async def patch_group(
        self, group_id: str, patch: Patch[Group], match: tuple[str, ...] | None, by: str
    ) -> Stored[Group]:
        """Change some of what a group is, and who is in it."""
        wanted = patch.membership or Membership()
        return await self._change_group(group_id, patch.applied, wanted, match, by, "patched")

    async def delete_group(self, group_id: str, match: tuple[str, ...] | None, by: str) -> None:
        """Remove a group: it counts no longer for those who were in it."""
        async with self._governor.transaction() as connection:
            stored = await groups.read(connection, group_id, members=True)
            _check(stored.etag, match)
            gone = await self._subjects(connection, stored.members)
            await groups.delete(connection, group_id)
            name = self._access.group_name(stored.resource)
            await self._access.members_are(connection, before=name, after="", came=(), went=gone, stayed=())
            await self._record(connection, "deleted", by, group=stored, removed=len(stored.members))

    async def _change_user(
        self, user_id: str, change: Callable[[User], User], match: tuple[str, ...] | None, by: str, action: str
    ) -> Stored[User]:
        async with self._governor.transaction() as connection:
            before = await users.read(connection, user_id)
            _check(before.etag, match)
            wanted = await asyncio.to_thread(change, before.resource)
            if users.same(wanted, before.resource):
                if before.resource.active is False:  # said once more: whoever let the person in meanwhile
                    await self._access.user_is(connection, before.resource, before=before.resource)
                return before
            after = await users.update(connection, before, wanted)
            await self._access.user_is(connection, after.resource, before=before.resource)
            await self._record(connection, action, by, user=after)
        return after

    async def _change_group(
        self,
        group_id: str,
        change: Callable[[Group], Group],
        wanted: Membership,
        match: tuple[str, ...] | None,
        by: str,
        action: str,
    ) -> Stored[Group]:
        async with self._governor.transaction() as connection:
            before = await groups.read(connection, group_id)
            _check(before.etag, match)
            group = await asyncio.to_thread(change, before.resource)
            came, went = await groups.change_members(connection, group_id, wanted)
            if came or went or not groups.same(group, before.resource):
                after = await groups.update(connection, before, group)
                await self._moved(connection, before, after, came, went)
                await self._record(connection, action, by, group=after, added=len(came), removed=len(went))
            return await groups.read(connection, group_id, members=True)

    async def _moved(
        self,
        connection: AsyncConnection,
        before: Stored[Group] | None,
        after: Stored[Group],
        came: frozenset[str],
        went: frozenset[str],
    ) -> None:
        """Let follow for access what became of a group and of who is in it."""
        old = self._access.group_name(before.resource) if before else ""
        new = self._access.group_name(after.resource)
        stayed: frozenset[str] = frozenset()
        if old and old != new:
            stayed = frozenset(await groups.members_of(connection, after.id)) - came
        await self._access.members_are(
            connection,
            before=old,
            after=new,
            came=await self._subjects(connection, came),
            went=await self._subjects(connection, went),
            stayed=await self._subjects(connection, stayed),
        )

    async def _subjects(self, connection: AsyncConnection, user_ids: frozenset[str] | tuple[str, ...]) -> list[str]:
        """Return whom users are at sign-in."""
        found: list[str] = []
        ids = sorted(user_ids)
        for first in range(0, len(ids), _AT_ONCE):
            columns = (tables.user.c.user_name, tables.user.c.external_id)
            query = sa.select(*columns).where(tables.user.c.id.in_(ids[first : first + _AT_ONCE]))
            rows = (await connection.execute(query)).all()
            found += [self._access.subject_of(row.user_name, row.external_id) for row in rows]
        return [subject for subject in found if subject]

    async def _record(
        self,
        connection: AsyncConnection,
        action: str,
        by: str,
        *,
        user: Stored[User] | None = None,
        group: Stored[Group] | None = None,
        **counts: int,
    ) -> None:
        detail: Detail = {"by": by, "action": action, **counts}
        subject = by
        if user is not None:
            subject = self._access.subject(user.resource)
            detail |= {"resource": "User", "id": user.id, "mapped": bool(subject)}
        if group is not None:
            detail |= {"resource": "Group", "id": group.id, "group": group.resource.display_name or ""}
        entry = Entry(kind=Kind.DIRECTORY_CHANGED, at=moment(now_us()), subject=subject or by, detail=detail)
        await self._governor.record(connection, entry)


def _check(etag: str, match: tuple[str, ...] | None) -> None:
    """Compare as RFC 9110, section 13.1.1, but weakly: our tags are weak, and RFC 7644, section 3.14, sends them."""
    if match is not None and "*" not in match and etag.removeprefix("W/") not in match:
        raise PreconditionFailedException(detail="The resource was changed since; read it again.")
