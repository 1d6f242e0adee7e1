"""Four eyes: what one officer asks for waits until another grants it.

The request and the decision are records. Who asked cannot decide; a request that nobody decided expires. What was
granted happens in the transaction of the decision (or right after it, where it may have to wait for a hold); reading
content is granted for a time instead, to the one who asked.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.governing import GoverningError, Governor, UnknownError, moment, now_us
from audit.record import Entry, Kind
from audit.tables import APPROVAL

_LONGEST_ARGUMENTS = 10_000


class Action(StrEnum):
    """What may need a second person."""

    ERASE = "erase"
    """Arguments: `subject`, `case_number`."""
    HOLD_RELEASE = "hold_release"
    """Arguments: `hold_id`."""
    CONTENT = "content"
    """Reading texts of turns. Arguments: `case_number`."""
    POLICY = "policy"
    """Activating a version of the policy. Arguments: `gateway.policies.versions.Wanted`."""


class Decision(StrEnum):
    """What a second person decided."""

    APPROVED = "approved"
    REFUSED = "refused"


class Approval(msgspec.Struct, frozen=True):
    """A request and what became of it. Times are microseconds since 1970 UTC."""

    approval_id: str
    action: str
    arguments: dict[str, str]
    requested_by: str
    requested_us: int
    expires_us: int
    decided_by: str = ""
    decided_us: int | None = None
    decision: str = ""
    """Empty while it waits (or when it expired)."""

    def waits(self, at_us: int) -> bool:
        """Whether it can still be decided."""
        return not self.decision and at_us < self.expires_us


SERVICE = "service:"
"""How the subjects of keys begin. Whoever makes keys has as many as they like: none of them is a second person."""


class Approvals:
    """Takes requests and decisions."""

    def __init__(self, governor: Governor, lifetime: timedelta = timedelta(hours=72)) -> None:
        """`lifetime` is how long a request may wait, and after that how long a grant of content holds."""
        self._governor = governor
        self._lifetime_us = int(lifetime.total_seconds() * 1_000_000)

    async def request(self, action: Action, arguments: Mapping[str, str], by: str) -> Approval:
        """Ask for a second person; recorded when this returns. Raises `GoverningError`, `AuditUnavailableError`."""
        _check_person(by)
        written = msgspec.json.encode(dict(arguments)).decode()
        if len(written) > _LONGEST_ARGUMENTS:
            raise GoverningError("The request is too long.")
        at = now_us()
        approval = Approval(self._governor.new_id(), action.value, dict(arguments), by, at, at + self._lifetime_us)
        async with self._governor.transaction() as connection:
            values = msgspec.structs.asdict(approval) | {"arguments": written}
            await connection.execute(insert(APPROVAL).values(**values))
            await self._governor.record(connection, _entry(Kind.APPROVAL_REQUESTED, approval, by, at))
        return approval

    async def decide(
        self, approval_id: str, decision: Decision, by: str, connection: AsyncConnection | None = None
    ) -> Approval:
        """Decide, in an open transaction or in one of its own. Return the approval as it then is.

        Raises `GoverningError` when there is none that waits or it is the requester's own; `AuditUnavailableError`.
        """
        if connection is None:
            async with self._governor.transaction() as own:
                return await self.decide(approval_id, decision, by, own)
        at = now_us()
        row = (await connection.execute(select(APPROVAL).where(APPROVAL.c.approval_id == approval_id))).first()
        if row is None:
            raise UnknownError("There is no such request.")
        if not (approval := _approval(row)).waits(at):
            raise GoverningError(f"There is no request {approval_id} that waits: it was decided, or it expired.")
        _check_person(by)
        if by == approval.requested_by:
            raise GoverningError("Who asked cannot decide: somebody else must.")
        decided = msgspec.structs.replace(approval, decided_by=by, decided_us=at, decision=decision.value)
        if decision is Decision.APPROVED:
            decided = msgspec.structs.replace(decided, expires_us=at + self._lifetime_us)
        fields = ("decided_by", "decided_us", "decision", "expires_us")
        await connection.execute(
            update(APPROVAL)
            .where(APPROVAL.c.approval_id == approval_id)
            .values({name: getattr(decided, name) for name in fields})
        )
        await self._governor.record(connection, _entry(Kind.APPROVAL_DECIDED, decided, by, at))
        return decided

    async def granted(self, action: Action, by: str, arguments: Mapping[str, str]) -> Approval | None:
        """Return a grant that this person has now for exactly this, or None."""
        table, at = APPROVAL.c, now_us()
        query = select(APPROVAL).where(
            table.action == action.value,
            table.requested_by == by,
            table.decision == Decision.APPROVED.value,
            table.expires_us > at,
        )
        async with self._governor.reading() as connection:
            rows = (await connection.execute(query.order_by(table.decided_us.desc()))).all()
        return next((one for one in map(_approval, rows) if one.arguments == dict(arguments)), None)

    async def asked(self, approval_id: str) -> Approval | None:
        """Return a request, decided or not, or None."""
        async with self._governor.reading() as connection:
            query = select(APPROVAL).where(APPROVAL.c.approval_id == approval_id)
            row = (await connection.execute(query)).first()
        return _approval(row) if row is not None else None

    async def listed(self, *, decided: bool = False) -> tuple[Approval, ...]:
        """Return what waits, oldest first; with `decided` everything that was ever asked."""
        query = select(APPROVAL).order_by(APPROVAL.c.requested_us, APPROVAL.c.approval_id)
        async with self._governor.reading() as connection:
            approvals = [_approval(row) for row in await connection.execute(query)]
        at = now_us()
        return tuple(one for one in approvals if decided or one.waits(at))


def _approval(row: Row[tuple[object, ...]]) -> Approval:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor
    return Approval(**values | {"arguments": msgspec.json.decode(values["arguments"], type=dict[str, str])})


def _entry(kind: Kind, approval: Approval, by: str, at_us: int) -> Entry:
    detail: dict[str, str | int | float | bool] = {"approval_id": approval.approval_id, "action": approval.action}
    detail |= approval.arguments
    if approval.decision:
        detail |= {"decision": approval.decision, "requested_by": approval.requested_by}
    return Entry(kind=kind, at=moment(at_us), subject=by, detail=detail)


def _check_person(by: str) -> None:
    """Raise `GoverningError` for the subject of a key."""
    if by.startswith(SERVICE):
        raise GoverningError("A key is no person: people ask, and other people decide.")
