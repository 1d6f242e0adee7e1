"""What the directory's changes do to access, in the transaction that makes them.

A user is a person by `externalId` or `userName` (`ATTEST_SCIM_SUBJECT`), a group one of the provider's groups by
`displayName` or `externalId` (`ATTEST_SCIM_GROUP`). The directory only gives back what the directory took: whom an
administrator shut out stays out, and whom the directory has inactive does not come in because that is lifted.
"""

from collections.abc import Collection

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.auth.roles import bare
from gateway.ending.endings import Endings, Move
from gateway.folding import fold_of, folded
from gateway.scim import tables
from gateway.scim.resources import Group, User
from gateway.settings import ScimGroup, ScimSubject

SCIM = "scim"
"""Who ended it, in records and on the administrators' page."""


class DirectoryAccess:
    """Ends and restores access as the directory says."""

    def __init__(self, endings: Endings, subject: ScimSubject, group: ScimGroup) -> None:
        self._endings = endings
        self._subject = subject
        self._fold = fold_of(subject)
        self._group = group

    def subject(self, user: User) -> str:
        """Return whom a user is at sign-in; empty: nobody that could be known."""
        return self.subject_of(user.user_name, user.external_id)

    def subject_of(self, user_name: str | None, external_id: str | None) -> str:
        """Return the same from the two attributes alone."""
        return (user_name if self._subject is ScimSubject.USER_NAME else external_id) or ""

    def unmatched(self) -> sa.ColumnElement[bool]:
        """Return the condition of users who are nobody that could be known: no change of theirs does anything."""
        if self._subject is ScimSubject.USER_NAME:
            return sa.false()  # every user has one
        return sa.func.coalesce(tables.user.c.external_id, "") == ""

    def is_subject(self, subject: str) -> sa.ColumnElement[bool]:
        """Return the condition of the user who is this person at sign-in."""
        if self._subject is ScimSubject.USER_NAME:
            return tables.user.c.user_name_key == folded(subject)
        return tables.user.c.external_id == subject

    def group_name(self, group: Group) -> str:
        """Return which of the provider's groups a group is; empty: none that could be known."""
        found = group.display_name if self._group is ScimGroup.DISPLAY_NAME else group.external_id
        return bare(found or "")

    async def user_is(self, connection: AsyncConnection, user: User, *, before: User | None) -> None:
        """End or restore access as a user's `active` says; where it says nothing, only a new user is let in.

        `before` is what the user was (None: new). One change may take away the name with the access: access ends for
        whomever the user was, too.
        """
        subject = self.subject(user)
        if not subject:
            structlog.get_logger("attest.scim").warning("scim.user_unmapped", attribute=self._subject.value)
        if user.active is False:
            for each in dict.fromkeys((self.subject(before) if before else "", subject)):
                if each:
                    await self._disable(connection, each, called(user), "scim_inactive")
        elif subject and (user.active or before is None):
            await self._restore(connection, subject)

    async def lift(
        self, connection: AsyncConnection, subject: str, inactive: User | None, *, reason: str, by: str
    ) -> bool:
        """Let a person in again, by an administrator; whether that person may come in now.

        Where another administrator's ending hid that the directory has the person `inactive`, the directory's takes
        its place. What the directory itself ended an administrator lifts.
        """
        ended_by = await self._endings.ended_by_in(connection, subject)
        await self._endings.restore_in(connection, subject, reason=reason, by=by)
        if inactive is None or ended_by in (None, SCIM):
            return True
        await self._disable(connection, self.subject(inactive), called(inactive), "scim_inactive")
        return False

    async def user_gone(self, connection: AsyncConnection, user: User) -> None:
        """End access of a user who left the directory."""
        if subject := self.subject(user):
            await self._disable(connection, subject, called(user), "scim_deleted")

    async def members_are(
        self,
        connection: AsyncConnection,
        *,
        before: str,
        after: str,
        came: Collection[str],
        went: Collection[str],
        stayed: Collection[str],
    ) -> None:
        """Let a group count no longer for the people who left it, and again for those who came.

        `before` and `after` are its names, which differ where it was renamed (empty: it is not there); the others are
        subjects of people.
        """
        renamed = before != after
        gone = await self._endings.without_group_in(connection, before) if before else frozenset()
        back = await self._endings.without_group_in(connection, after) if after else frozenset()
        lose = {*went, *(stayed if renamed else ())} - gone if before else set()
        returned = {self._fold(each) for each in (*came, *(stayed if renamed else ()))}
        regain = {each for each in back if self._fold(each) in returned}  # under every spelling that it was lost by
        moves = [
            Move(
                subject,
                frozenset({before} if subject in lose else ()),
                frozenset({after} if subject in regain else ()),
            )
            for subject in sorted(lose | regain)
            if subject
        ]
        await self._endings.move_in(connection, moves, reason="scim_groups", by=SCIM)

    async def _restore(self, connection: AsyncConnection, subject: str) -> None:
        spellings = [subject]
        if self._subject is ScimSubject.USER_NAME:  # as it is looked up: neither case nor form counts
            spellings = await self._endings.spellings_in(connection, subject, by=SCIM)
        for each in spellings:
            await self._endings.restore_in(connection, each, reason="scim_active", by=SCIM, only_by=SCIM)

    async def _disable(self, connection: AsyncConnection, subject: str, name: str, reason: str) -> None:
        if await self._endings.ended_by_in(connection, subject) is None:
            await self._endings.disable_in(connection, subject, reason=reason, by=SCIM, name=name)


def called(user: User) -> str:
    """Return what people call a user."""
    return user.display_name or (user.name.formatted if user.name else None) or user.user_name or ""
