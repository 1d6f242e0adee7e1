"""Two gateways on one database, for the tests of access that ends."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.tables import AUDIT_ENTRY
from gateway.auth.principal import Credential, Principal
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.ending.ended import EndedAccess
from gateway.ending.endings import Endings
from gateway.problems import AccessEndedError

NOW = 1_800_000_000
ROLES = RoleMap("groups", {"staff": "staff", "audit": "compliance"})


def person(subject: str = "alice", issued_at: int = NOW - 100, sid: str = "") -> Principal:
    groups = ("/staff", "/audit")
    return Principal(
        subject, subject.title(), groups, ROLES.roles(groups), session=True,
        credential=Credential("session", "x", issued_at, sid),
    )  # fmt: skip


class Time:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Rig:
    """Two gateways on one database: one changes, the other must notice."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.time, self.monotonic = Time(), Time()
        self.endings = Endings(Governor(engine), self.time)
        self.sessions = Sessions(engine, ROLES, SessionTimes(3600, 36_000), self.time)
        self.ended = EndedAccess(engine, ROLES, 60, unix_time=self.time, monotonic=self.monotonic)

    async def let_in(self, principal: Principal) -> bool:
        await self.ended.refresh()
        try:
            self.ended.standing(principal)
        except AccessEndedError:
            return False
        return True

    async def records(self) -> list[tuple[str, str]]:
        query = sa.select(AUDIT_ENTRY.c.kind, AUDIT_ENTRY.c.subject).order_by(AUDIT_ENTRY.c.entry_id)
        async with self.engine.connect() as connection:
            return [tuple(row) for row in (await connection.execute(query)).all()]
