"""What people ask of the review queue: a person's appeal, and what reviewers see, say and decide."""

from datetime import UTC, datetime

import msgspec

from audit.ports import AuditLog
from audit.record import Content, Entry, Kind
from audit.search.shown import ShownTurn
from gateway.history.records import StoredMessage
from gateway.inquiry.consent import governed
from gateway.inquiry.desk import Desk
from gateway.inquiry.officer import AccessRecords, Officer, access_entry
from gateway.problems import BadRequestError, ConflictError, ForbiddenError, NotFoundError
from gateway.review.records import COMMENT_LIMIT, Label, Review, Source
from gateway.review.store import Asked, Reviews
from gateway.turn_events import Outcome

PURPOSE = "review"
"""The case number under which reviewers read texts; four eyes for content must grant it like any other."""


class ReviewDesk:
    """Serves the chat page and the console. Raises the errors of `gateway.problems`."""

    def __init__(self, log: AuditLog, reviews: Reviews, desk: Desk) -> None:
        self.reviews = reviews
        self._desk = desk
        self._access = AccessRecords(log)

    async def appeal(self, subject: str, answer: StoredMessage, comment: str) -> None:
        """Take an appeal against a block, and what the person says to it; both on record when this returns."""
        if answer.outcome != Outcome.BLOCKED:
            raise ConflictError("Only what was blocked can be contested.")
        asked = Asked(answer.turn_id, subject, answer.conversation_id)
        with governed():
            await self.reviews.appeal(asked)
        if comment.strip():
            await self._access.append(_comment(asked, comment, by=subject, role="user", to="reviewers"))

    async def queue(
        self, officer: Officer, source: Source | None, *, decided: bool, after: str, limit: int
    ) -> tuple[Review, ...]:
        """Return a page of the queue; the look is recorded. `after` is the last turn of the page before."""
        with governed():
            last = await self.reviews.review(after) if after else None
            if after and last is None:
                raise NotFoundError("There is no such page.")
            found = await self.reviews.queue(source, decided=decided, after=last, limit=limit)
        detail: dict[str, str | int | float | bool] = {"what": "reviews", "results": len(found)}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail))
        return found

    async def opened(self, officer: Officer, turn_id: str) -> tuple[Review, ShownTurn]:
        """Return a turn of the queue with its texts; labels of others are left out until it is decided."""
        with governed():
            review = await self.reviews.review(turn_id)
        turn = await self._desk.turn(_for_review(officer), turn_id, content=True) if review is not None else None
        if review is None or turn is None:
            raise NotFoundError("There is no such turn in the queue.")
        if not review.outcome:
            own = tuple(one for one in review.labels if one.reviewer == subject_of(officer))
            review = msgspec.structs.replace(review, labels=own)
        return review, turn

    async def assign(self, officer: Officer, turn_id: str, to: str) -> Review:
        """Take a turn upon oneself, or (`to` empty) give it back."""
        with governed():
            return await self.reviews.assign(turn_id, to, subject_of(officer))

    async def comment(self, officer: Officer, turn_id: str, text: str) -> None:
        """Say something about a turn to the other reviewers."""
        review = await self._in_queue(turn_id)
        if not text.strip():
            raise BadRequestError("The comment is empty.")
        by = subject_of(officer)
        await self._access.append(_comment(_asked(review), text, by=by, role="reviewer", to="reviewers"))

    async def label(self, officer: Officer, turn_id: str, label: Label, *, twice: bool, note: str) -> Review:
        """Label a turn; the note for the person is on record before they see it."""
        by = subject_of(officer)
        if note.strip():
            review = await self._in_queue(turn_id)
            await self._access.append(_comment(_asked(review), note, by=by, role="reviewer", to="person"))
        with governed():
            return await self.reviews.label(turn_id, label, by, twice=twice, note=note.strip())

    async def _in_queue(self, turn_id: str) -> Review:
        with governed():
            review = await self.reviews.review(turn_id)
        if review is None:
            raise NotFoundError("There is no such turn in the queue.")
        if review.outcome:
            raise ConflictError("This turn was decided.")
        return review


def subject_of(officer: Officer) -> str:
    """Return who it is. Raises `ForbiddenError` where nobody is signed in."""
    if officer.principal is None:
        raise ForbiddenError
    return officer.principal.subject


def _for_review(officer: Officer) -> Officer:
    return msgspec.structs.replace(officer, purpose=PURPOSE)


def _asked(review: Review) -> Asked:
    return Asked(review.turn_id, review.subject, review.conversation_id)


def _comment(asked: Asked, text: str, *, by: str, role: str, to: str) -> Entry:
    if len(text) > COMMENT_LIMIT:
        raise BadRequestError(f"The comment is longer than {COMMENT_LIMIT} characters.")
    return Entry(
        kind=Kind.REVIEW_COMMENTED,
        at=datetime.now(UTC),
        subject=asked.subject,
        turn_id=asked.turn_id,
        conversation_id=asked.conversation_id,
        detail={"by": by, "to": to},
        contents=(Content("note" if to == "person" else "comment", role, text),),
    )
