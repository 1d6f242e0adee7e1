"""Whose access has ended, in memory: every gateway reads the list once a second, and a request costs one look-up.

The list only ever takes away. While it cannot be read for longer than the interval in which access must end, nobody
with a session, token or key is let in.
"""

import time
from collections.abc import Callable
from enum import StrEnum

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth.principal import Principal
from gateway.auth.roles import RoleMap, bare
from gateway.ending import tables
from gateway.problems import AccessEndedError, ProviderUnavailableError

POLL_S = 1.0
"""How often the list is read."""
OVERLAP_US = 300_000_000
"""Changes are looked for this far back: the clocks of gateways differ, and transactions take time."""


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
        self._known: dict[tuple[str, str], Ending] = {}
        self._people: dict[str, set[str]] = {}
        """Subjects that are on the list, by what they are folded to."""

    async def refresh(self) -> None:
        """Read what changed since the last time. Raises `sqlalchemy.exc.SQLAlchemyError` or `OSError`."""
        table, asked_at = tables.ended, self._monotonic()
        query = sa.select(table).where(table.c.changed_us >= self._seen_us - OVERLAP_US).order_by(table.c.changed_us)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        for row in rows:
            self._take(row)
            self._seen_us = max(self._seen_us, row.changed_us)
        self._read_at = asked_at

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

        Raises `AccessEndedError` where access has ended, `ProviderUnavailableError` while that cannot be known.
        """
        if self._monotonic() - self._read_at > max(self._interval_s, 5 * POLL_S):
            raise ProviderUnavailableError("Whether your access still stands cannot be checked now; try again shortly.")
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
