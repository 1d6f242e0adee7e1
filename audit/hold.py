"""Legal holds: what one covers is neither pruned nor erased, until it is released.

A hold names a case and what it covers: a person, a conversation, a stretch of time, what turns are found by (group,
verdict, category, rule, model), turns one by one, or several of these together (then all must fit). It is looked at
inside the transactions that prune and erase (`covered`).
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us, rfc3339
from audit.pruning import parts
from audit.record import Entry, Kind
from audit.rows import microseconds
from audit.tables import AUDIT_TURN, HOLD, HOLD_TURN

MOST_CHARACTERS = 200
"""Longest case number and reason."""
MOST_TURNS = 5000
"""Most turns that a hold names one by one: as many as a case collects."""
FACETS = ("group", "category", "rule", "model")
"""What of a hold stands in `audit_facet`, under the same names."""


class HoldOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that is to be placed. Empty fields do not restrict; one that restricts nothing must say `everything`."""

    case_number: str
    reason: str
    subject: str = ""
    conversation_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    group: str = ""
    verdict: str = ""
    category: str = ""
    rule: str = ""
    model: str = ""
    turn_ids: tuple[str, ...] = ()
    """These turns only; what is found by words is held so, for texts cannot be looked into while records are pruned."""
    everything: bool = False

    def check(self) -> None:
        """Raise `GoverningError` that says what is wrong."""
        persons = self.subject or self.conversation_id or self.since or self.until
        if bool(persons or self.of_turns) == self.everything:
            raise GoverningError("A hold says what it covers (a person, turns, a time), or that it covers everything.")
        if len(self.turn_ids) > MOST_TURNS:
            raise GoverningError(f"A hold names at most {MOST_TURNS} turns.")
        if any(len(value) > MOST_CHARACTERS for value in self.found_by):
            raise GoverningError(f"What turns are found by has at most {MOST_CHARACTERS} characters.")
        if self.since and self.until and self.since >= self.until:
            raise GoverningError("A hold's time must begin before it ends.")
        check_case(self.case_number, self.reason)

    @property
    def found_by(self) -> tuple[str, ...]:
        """What turns are found by."""
        return (self.group, self.verdict, self.category, self.rule, self.model)

    @property
    def of_turns(self) -> bool:
        """Whether it restricts by what only turns have."""
        return bool(self.turn_ids or any(self.found_by))


class About(msgspec.Struct, frozen=True):
    """What a turn can be held by beside its person, conversation and time; as the columns hold it."""

    verdict: str
    facets: frozenset[tuple[str, str]]
    named_by: frozenset[str]
    """Ids of the holds that name the turn."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold as it stands; the times of what it covers and of itself in microseconds since 1970 UTC."""

    hold_id: str
    case_number: str
    reason: str
    subject: str
    """As the columns hold it."""
    conversation_id: str
    since_us: int | None
    until_us: int | None
    placed_by: str
    placed_us: int
    released_by: str = ""
    released_us: int | None = None
    group: str = ""
    verdict: str = ""
    category: str = ""
    rule: str = ""
    model: str = ""
    turns: int = 0
    """Turns that it names; 0 does not restrict."""

    @property
    def facets(self) -> tuple[tuple[str, str], ...]:
        """The facets that a turn must have."""
        return tuple((name, value) for name in FACETS if (value := getattr(self, name)))

    @property
    def of_turns(self) -> bool:
        """Whether it covers turns alone: it restricts by what nothing else has."""
        return bool(self.facets or self.verdict or self.turns)

    def covers(self, subject: str, conversation_id: str, at_us: int, about: About | None = None) -> bool:
        """Whether something of this person and conversation (as the columns hold them) at this time is held.

        `about`: of what belongs to a turn. Without it no hold covers it that is of turns.
        """
        return (
            self.subject in ("", subject)
            and self.conversation_id in ("", conversation_id)
            and (self.since_us is None or at_us >= self.since_us)
            and (self.until_us is None or at_us < self.until_us)
            and (not self.of_turns or (about is not None and self._fits(about)))
        )

    def _fits(self, about: About) -> bool:
        return (
            self.verdict in ("", about.verdict)
            and about.facets.issuperset(self.facets)
            and (not self.turns or self.hold_id in about.named_by)
        )


class Holds:
    """Places, releases and lists holds. Each change is a record in the same transaction."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    async def place(self, order: HoldOrder, by: str) -> Hold:
        """Place a hold; in force when this returns.

        Raises `GoverningError` (`UnknownError` where a turn that it names is not in the log), `AuditUnavailableError`.
        """
        order.check()
        at, named = now_us(), tuple(dict.fromkeys(map(column, order.turn_ids)))
        hold = Hold(
            hold_id=self._governor.new_id(),
            case_number=order.case_number,
            reason=order.reason,
            subject=column(order.subject),
            conversation_id=column(order.conversation_id),
            since_us=microseconds(order.since) if order.since else None,
            until_us=microseconds(order.until) if order.until else None,
            placed_by=by,
            placed_us=at,
            group=column(order.group),
            verdict=column(order.verdict),
            category=column(order.category),
            rule=column(order.rule),
            model=column(order.model),
            turns=len(named),
        )
        async with self._governor.transaction() as connection:
            await connection.execute(insert(HOLD).values(**msgspec.structs.asdict(hold)))
            await _name(connection, hold, named)
            detail = {"hold_id": hold.hold_id, "case_number": hold.case_number, **_covered(hold, named)}
            await self._governor.record(
                connection, Entry(kind=Kind.HOLD_PLACED, at=moment(at), subject=by, detail=detail)
            )
        return hold

    async def release(self, hold_id: str, by: str, connection: AsyncConnection | None = None) -> Hold:
        """Release a hold, in a transaction that is open already or in one of its own.

        Raises `GoverningError` when there is none in force, `AuditUnavailableError`.
        """
        if connection is None:
            async with self._governor.transaction() as own:
                return await self.release(hold_id, by, own)
        found = (await connection.execute(select(HOLD).where(HOLD.c.hold_id == hold_id))).first()
        if found is None:
            raise UnknownError("There is no such hold.")
        if found.released_us is not None:
            raise GoverningError(f"There is no hold {hold_id} in force.")
        at = now_us()
        values = {"released_by": by, "released_us": at}
        await connection.execute(update(HOLD).where(HOLD.c.hold_id == hold_id).values(**values))
        detail: dict[str, str | int | float | bool] = {"hold_id": hold_id, "case_number": found.case_number}
        await self._governor.record(
            connection, Entry(kind=Kind.HOLD_RELEASED, at=moment(at), subject=by, detail=detail)
        )
        return msgspec.structs.replace(_hold(found), **values)

    async def listed(self, *, released: bool = False) -> tuple[Hold, ...]:
        """Return the holds in force, oldest first; all that ever were with `released`."""
        async with self._governor.reading() as connection:
            return await in_force(connection) if not released else await _select(connection, [])


async def in_force(connection: AsyncConnection) -> tuple[Hold, ...]:
    """Return the holds in force as this transaction sees them."""
    return await _select(connection, [HOLD.c.released_us.is_(None)])


async def _name(connection: AsyncConnection, hold: Hold, turn_ids: Sequence[str]) -> None:
    for part in parts(turn_ids):
        known = select(func.count()).select_from(AUDIT_TURN).where(AUDIT_TURN.c.turn_id.in_(part))
        if (await connection.execute(known)).scalar_one() < len(part):
            raise UnknownError("There is no such turn, or its records are no longer kept.")
        await connection.execute(insert(HOLD_TURN), [{"hold_id": hold.hold_id, "turn_id": one} for one in part])


async def _select(connection: AsyncConnection, where: list[ColumnElement[bool]]) -> tuple[Hold, ...]:
    rows = await connection.execute(select(HOLD).where(*where).order_by(HOLD.c.placed_us, HOLD.c.hold_id))
    return tuple(_hold(row) for row in rows)


def _hold(row: Row[tuple[object, ...]]) -> Hold:
    return Hold(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor


def _covered(hold: Hold, turn_ids: Sequence[str]) -> dict[str, str | int | float | bool]:
    fields: dict[str, str | int | float | bool] = {
        "held_subject": hold.subject,
        "conversation_id": hold.conversation_id,
        "since": rfc3339(hold.since_us) if hold.since_us is not None else "",
        "until": rfc3339(hold.until_us) if hold.until_us is not None else "",
        **{name: getattr(hold, name) for name in (*FACETS, "verdict")},
        "turns": hold.turns,
        "turns_sha256": hashlib.sha256("\n".join(sorted(turn_ids)).encode()).hexdigest() if turn_ids else "",
    }
    return {name: value for name, value in fields.items() if value}


def check_case(*texts: str) -> None:
    """Raise `GoverningError` unless each is a short, plain line: a case number, a reason."""
    for text in texts:
        if not text.strip() or len(text) > MOST_CHARACTERS or not text.isprintable():
            raise GoverningError(f"Case number and reason must have 1 to {MOST_CHARACTERS} plain characters.")
