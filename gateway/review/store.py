"""The review queue: appeals, assignments, labels, decisions. Each change and its record are one transaction."""

import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Row, Select, and_, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import column
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us
from audit.record import Entry, Kind
from audit.tables import AUDIT_TURN
from gateway.history.tables import message
from gateway.review.records import (
    Agreement,
    GivenLabel,
    Label,
    Review,
    Settled,
    Source,
    agreement,
    settle,
)
from gateway.review.tables import REVIEW, REVIEW_LABEL

MOST_PAIRS = 10_000
"""Newest turns with two labels that the agreement rate counts."""
_EVERY = 100

Detail = dict[str, str | int | float | bool]


class Asked(msgspec.Struct, frozen=True):
    """A person's appeal against a block."""

    turn_id: str
    subject: str
    conversation_id: str


class Reviews:
    """Takes and gives what reviewers work on. Raises `GoverningError` for what cannot be, `AuditUnavailableError`."""

    def __init__(self, governor: Governor, second_percent: int = 10) -> None:
        """`second_percent`: share of turns that two reviewers look at in any case, so that agreement can be told."""
        self._governor = governor
        self._second_percent = second_percent

    def looked_at_twice(self, turn_id: str) -> bool:
        """Whether chance (by the turn's id, so always the same) gives this turn two reviewers."""
        return zlib.crc32(turn_id.encode()) % _EVERY < self._second_percent

    async def appeal(self, asked: Asked) -> bool:
        """Take an appeal; on record when this returns. False when it stands already.

        Raises `GoverningError` for a turn that was decided, or whose records were pruned: nobody could look at it.
        """
        at = now_us()
        async with self._governor.transaction() as connection:
            if not await _is_kept(connection, asked.turn_id):
                raise GoverningError("The records of this turn are no longer kept, so nobody can look at it again.")
            found = await _review(connection, asked.turn_id)
            if found is not None and found.outcome:
                raise GoverningError("This turn was reviewed already.")
            if found is not None and found.source is Source.APPEAL:
                return False
            values = {"source": Source.APPEAL.value, "opened_us": at, "blocked": True}
            if found is None:
                twice = self.looked_at_twice(asked.turn_id)
                await connection.execute(insert(REVIEW).values(**msgspec.structs.asdict(asked), **values, twice=twice))
            else:
                await connection.execute(update(REVIEW).where(REVIEW.c.turn_id == asked.turn_id).values(**values))
            await _tell(connection, asked.turn_id, "open", "")
            await self._record(connection, Kind.APPEAL_OPENED, asked, at, {})
        return True

    async def assign(self, turn_id: str, to: str, by: str) -> Review:
        """Give a turn to a reviewer (empty: to nobody)."""
        at = now_us()
        async with self._governor.transaction() as connection:
            review = await _waiting(connection, turn_id)
            _may_review(review, to)
            await connection.execute(update(REVIEW).where(REVIEW.c.turn_id == turn_id).values(assigned_to=to))
            await self._record(connection, Kind.REVIEW_ASSIGNED, review, at, {"reviewer": to, "by": by})
        return msgspec.structs.replace(review, assigned_to=to)

    async def label(self, turn_id: str, label: Label, by: str, *, twice: bool = False, note: str = "") -> Review:
        """Say what a turn is; where the labels come to a decision, it is made in the same transaction.

        `twice`: ask for a second opinion in any case. `note` is for the person, who sees it with the outcome.
        """
        at = now_us()
        async with self._governor.transaction() as connection:
            review = await _waiting(connection, turn_id)
            _may_review(review, by)
            if by in {one.reviewer for one in review.labels}:
                raise GoverningError("You have labelled this turn; another reviewer must look at it.")
            given = GivenLabel(by, label, at)
            review = msgspec.structs.replace(review, labels=(*review.labels, given), twice=review.twice or twice)
            await connection.execute(insert(REVIEW_LABEL).values(**_row(review, given)))
            detail: Detail = {"reviewer": by, **_said(label), "ordinal": len(review.labels)}
            await self._record(connection, Kind.REVIEW_LABELLED, review, at, detail)
            settled = settle(tuple(one.label for one in review.labels), blocked=review.blocked, twice=review.twice)
            changed: dict[str, object] = {"twice": review.twice, "assigned_to": ""}
            if settled is not None:
                changed |= {"outcome": settled.outcome.value, "decided_us": at}
                await self._decide(connection, review, settled, by, at, note)
            await connection.execute(update(REVIEW).where(REVIEW.c.turn_id == turn_id).values(**changed))
        return msgspec.structs.replace(review, **changed)

    async def _decide(
        self, connection: AsyncConnection, review: Review, settled: Settled, by: str, at: int, note: str
    ) -> None:
        if review.source is Source.APPEAL:
            await _tell(connection, review.turn_id, settled.outcome.value, note)
        detail: Detail = {
            "outcome": settled.outcome.value,
            **_said(Label(settled.place, settled.categories)),
            "source": review.source.value,
            "labels": len(review.labels),
            "by": by,
        }
        await self._record(connection, Kind.REVIEW_DECIDED, review, at, detail)

    async def review(self, turn_id: str) -> Review | None:
        """Return one turn of the queue with its labels."""
        async with self._governor.reading() as connection:
            return await _review(connection, turn_id)

    async def queue(
        self, source: Source | None = None, *, decided: bool = False, after: Review | None = None, limit: int = 50
    ) -> tuple[Review, ...]:
        """Return what waits, oldest first, or what was decided, newest first; `after` continues. Without labels.

        A turn that waited may have been decided since; raises `UnknownError` where `after` was never in this list.
        """
        table = REVIEW.c
        query: Select[tuple[object, ...]] = select(REVIEW)
        query = query.where(table.outcome != "" if decided else table.outcome == "")
        if source is not None:
            query = query.where(table.source == source.value)
        at, key = (table.decided_us, table.turn_id) if decided else (table.opened_us, table.turn_id)
        if after is not None:
            reached = after.decided_us if decided else after.opened_us
            if reached is None:
                raise UnknownError("There is no such page.")
            beyond = (
                or_(at < reached, and_(at == reached, key < after.turn_id))
                if decided
                else or_(at > reached, and_(at == reached, key > after.turn_id))
            )
            query = query.where(beyond)
        query = query.order_by(at.desc(), key.desc()) if decided else query.order_by(at, key)
        async with self._governor.reading() as connection:
            return tuple(_made(row) for row in await connection.execute(query.limit(limit)))

    async def counts(self) -> Mapping[Source, int]:
        """Return how many wait, by source."""
        query = select(REVIEW.c.source, func.count()).where(REVIEW.c.outcome == "").group_by(REVIEW.c.source)
        async with self._governor.reading() as connection:
            found = {str(source): int(count) for source, count in (await connection.execute(query)).all()}
        return {source: found.get(source.value, 0) for source in Source}

    async def agreement(self) -> Agreement:
        """Return how far first and second reviewers agree, over the newest turns that have two labels."""
        first, second = REVIEW_LABEL.alias("first"), REVIEW_LABEL.alias("second")
        query = (
            select(first.c.harmful, second.c.harmful)
            .join(second, and_(second.c.turn_id == first.c.turn_id, second.c.ordinal == 2))  # noqa: PLR2004
            .where(first.c.ordinal == 1)
            .order_by(second.c.labelled_us.desc())
            .limit(MOST_PAIRS)
        )
        async with self._governor.reading() as connection:
            rows = (await connection.execute(query)).all()
        return agreement(tuple((bool(one), bool(other)) for one, other in rows))

    async def _record(
        self, connection: AsyncConnection, kind: Kind, of: Asked | Review, at_us: int, detail: Detail
    ) -> None:
        entry = Entry(
            kind=kind,
            at=moment(at_us),
            subject=of.subject,
            turn_id=of.turn_id,
            conversation_id=of.conversation_id,
            detail=detail,
        )
        await self._governor.record(connection, entry)


def _may_review(review: Review, reviewer: str) -> None:
    if reviewer and reviewer == review.subject:
        raise GoverningError("Nobody reviews a turn of their own.")


async def _is_kept(connection: AsyncConnection, turn_id: str) -> bool:
    return bool((await connection.execute(select(exists().where(AUDIT_TURN.c.turn_id == turn_id)))).scalar())


async def _tell(connection: AsyncConnection, turn_id: str, state: str, note: str) -> None:
    """Show the person, in their history, what became of an appeal."""
    values = {"appeal": state, "appeal_note": note.replace("\x00", "\ufffd"), "updated_at": datetime.now(UTC)}
    await connection.execute(update(message).where(message.c.turn_id == turn_id).values(**values))


async def _waiting(connection: AsyncConnection, turn_id: str) -> Review:
    review = await _review(connection, turn_id)
    if review is None:
        raise UnknownError("There is no such turn in the queue.")
    if review.outcome:
        raise GoverningError("This turn does not wait for a review: it was decided.")
    return review


async def _review(connection: AsyncConnection, turn_id: str) -> Review | None:
    row = (await connection.execute(select(REVIEW).where(REVIEW.c.turn_id == column(turn_id)))).first()
    if row is None:
        return None
    query = select(REVIEW_LABEL).where(REVIEW_LABEL.c.turn_id == turn_id).order_by(REVIEW_LABEL.c.ordinal)
    labels = tuple(_label(label) for label in await connection.execute(query))
    return msgspec.structs.replace(_made(row), labels=labels)


def _made(row: Row[tuple[object, ...]]) -> Review:
    values = {str(name): value for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public accessor
    return msgspec.convert(values, Review)


def _label(row: Row[tuple[object, ...]]) -> GivenLabel:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public accessor
    said = {"place": values["place"], "categories": msgspec.json.decode(str(values["categories"]))}
    return GivenLabel(str(values["reviewer"]), msgspec.convert(said, Label), int(str(values["labelled_us"])))


def _row(review: Review, given: GivenLabel) -> dict[str, object]:
    return {
        "turn_id": review.turn_id,
        "ordinal": len(review.labels),
        "reviewer": given.reviewer,
        "harmful": given.label.harmful,
        "place": given.label.place.value,
        "categories": msgspec.json.encode(given.label.categories).decode(),
        "labelled_us": given.labelled_us,
    }


def _said(label: Label) -> Detail:
    return {"place": label.place.value, "categories": ",".join(label.categories), "harmful": label.harmful}
