"""Whose access has ended, in memory: every gateway reads the list once a second, and a request costs one look-up.

The list only ever takes away. While it cannot be read for longer than the interval in which access must end, nobody
with a session, token or key is let in.
"""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.auth.principal import Principal
from gateway.auth.roles import RoleMap, bare
from gateway.ending import tables
from gateway.problems import AccessEndedError, DatabaseUnavailableError

POLL_S = 1.0
"""How often the list is read."""
OVERLAP_US = 300_000_000
"""Changes are looked for this far back: the clocks of gateways differ, and transactions take time."""
FORGOTTEN_S = 90 * 86_400
"""How long an ended session of the provider stays on the list, in seconds; what names a session counts no longer."""
_TIDY_EVERY_S = 3600
_PAGE = 1000
"""Rows that are taken at a time: requests are answered in between."""
_CUT_SHORT = (-1, -1)
"""What `_look` never says: changes are still to be taken."""


class Scope(StrEnum):
    """What an ending is about."""

    PERSON = "person"
    """Value: the provider's subject."""
    PROVIDER_SESSION = "provider_session"
    """Value: the provider's session id (`sid`)."""


class Ending(msgspec.Struct, frozen=True):
    """What is known of one person, or of one of the provider's sessions."""

    since: int = -1
    """Whatever was given out until then (Unix seconds) has ended."""
    lasting: bool = False
    """Nothing counts until the person is restored."""
    groups: frozenset[str] = frozenset()
    """Groups that no longer count, by their bare names."""


class EndedAccess:
    """The list, as last read."""

    def __init__(
        self,
        engine: AsyncEngine,
        roles: RoleMap,
        interval_s: float,
        *,
        fold: Callable[[str], str] = str,
        unix_time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fold` makes two subjects that are one person the same text."""
        self._engine = engine
        self._fold = fold
        self._roles = roles
        self._interval_s = interval_s
        self._unix_time = unix_time
        self._monotonic = monotonic
        self._read_at = float("-inf")
        self._seen_us = 0
        self._taken = (0, 0)
        """What `_look` says of the changes that were taken already."""
        self._tidied_at = monotonic()
        self._known: dict[tuple[str, str], Ending] = {}
        self._people: dict[str, set[str]] = {}
        """Subjects that are on the list, by what they are folded to."""

    async def refresh(self) -> None:
        """Read what changed since the last time. Raises `sqlalchemy.exc.SQLAlchemyError` or `OSError`."""
        cut_short, asked_at = self._taken == _CUT_SHORT, self._monotonic()
        since = self._seen_us if cut_short else self._seen_us - OVERLAP_US
        async with self._engine.connect() as connection:
            if not self._seen_us or cut_short or await self._look(connection, since) != self._taken:
                await self._read(connection, since)
        self._read_at = asked_at
        if asked_at - self._tidied_at > _TIDY_EVERY_S:
            self._tidied_at = asked_at
            self._forget(self._unix_time() - FORGOTTEN_S)

    async def _look(self, connection: AsyncConnection, since: int) -> tuple[int, int]:
        """Return how many changes there are from a time on (µs), and the sum of what they are later by.

        A change only ever gets a later time (`Endings`), so where both are the same, the changes are.
        """
        changed = tables.ended.c.changed_us
        look = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(changed - since), 0)).where(changed >= since)
        count, later = (await connection.execute(look)).one()
        return count, int(later)

    async def _read(self, connection: AsyncConnection, since: int) -> None:
        """Take the changes from a time on (µs), in their order: a read that is cut short goes on where it was."""
        table, seen = tables.ended, list[int]()
        self._taken = _CUT_SHORT
        query = sa.select(table).where(table.c.changed_us >= since).order_by(table.c.changed_us)
        async for rows in (await connection.stream(query)).partitions(_PAGE):
            for row in rows:
                self._take(row)
            seen += [row.changed_us for row in rows]
            self._seen_us = max(self._seen_us, seen[-1])
            await asyncio.sleep(0)
        oldest = self._seen_us - OVERLAP_US
        again = [at - oldest for at in seen if at >= oldest]
        self._taken = (len(again), sum(again))

    def _forget(self, before: float) -> None:
        """Drop the provider's sessions that ended before (Unix seconds); `Endings` takes them from the table."""
        known = self._known.items()
        old = [key for key, one in known if key[0] == Scope.PROVIDER_SESSION and one.since < before]
        for key in old:
            del self._known[key]

    def _take(self, row: sa.Row[tuple[object, ...]]) -> None:
        key = (row.scope, row.value)
        if row.scope == Scope.PERSON:
            self._people.setdefault(self._fold(row.value), set()).add(row.value)
        known = self._known.get(key, Ending())
        if row.group_name:
            group = bare(row.group_name)
            groups = known.groups | {group} if row.lasting else known.groups - {group}
            self._known[key] = msgspec.structs.replace(known, groups=groups)
        else:
            self._known[key] = msgspec.structs.replace(known, since=row.since, lasting=row.lasting)

    def standing(self, principal: Principal) -> Principal:
        """Return the principal without the groups that no longer count, and the roles that are left.

        Raises `AccessEndedError` where access has ended, `DatabaseUnavailableError` while that cannot be known.
        """
        if self._monotonic() - self._read_at > max(self._interval_s, 5 * POLL_S):
            raise DatabaseUnavailableError(
                "While the database does not answer, nobody's access can be checked; try again shortly.",
                retry_after=5,
            )
        credential = principal.credential
        if credential.provider_session:
            session = self._known.get((Scope.PROVIDER_SESSION, credential.provider_session))
            if session is not None and credential.issued_at <= session.since:
                raise AccessEndedError
        person = self._person(principal.subject)
        if person.lasting or credential.issued_at <= person.since:
            raise AccessEndedError
        if not person.groups:
            return principal
        groups = tuple(group for group in principal.groups if bare(group) not in person.groups)
        return msgspec.structs.replace(principal, groups=groups, roles=self._roles.roles(groups))

    def disabled(self, subject: str) -> bool:
        """Whether nothing of this person counts until access is restored."""
        return self._person(subject).lasting

    def _person(self, subject: str) -> Ending:
        """Return what is known of a person, under whatever spelling: all of it counts."""
        found = Ending()
        for each in self._people.get(self._fold(subject), ()):
            known = self._known[Scope.PERSON, each]
            found = Ending(max(found.since, known.since), found.lasting or known.lasting, found.groups | known.groups)
        return found
