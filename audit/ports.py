"""The ports of the audit log: what the gateway may ask of it."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

import msgspec

from audit.record import Content, Entry, Receipt


class AuditUnavailableError(Exception):
    """The log cannot take or give records now; nothing that depends on the record may happen."""


class AuditOverloadedError(AuditUnavailableError):
    """The queue before the log is full: answer 503 with `Retry-After`."""


class AuditRejectedError(AuditUnavailableError):
    """The entry itself cannot be recorded (a number that is not finite, a time without zone): mend the caller."""


class AuditIntegrityError(Exception):
    """What is stored is not what was written: a leaf, a text or a key was altered. The message names the record."""


class TurnFilter(msgspec.Struct, frozen=True):
    """Which turns to list; empty fields do not filter."""

    subject: str = ""
    conversation_id: str = ""
    verdict: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


class TurnSummary(msgspec.Struct, frozen=True):
    """One turn in a list; no content."""

    turn_id: str
    at: datetime
    subject: str
    verdict: str
    name: str = ""
    conversation_id: str = ""
    reason: str = ""
    surface: str = ""
    model: str = ""
    closing_kind: str = ""
    """Empty while the turn runs."""
    categories: tuple[str, ...] = ()


class TurnTrail(msgspec.Struct, frozen=True):
    """One turn whole: context, texts, and every record in order."""

    turn_id: str
    at: datetime
    subject: str
    verdict: str
    dialogue: tuple[Content, ...]
    """What the model was sent, in order."""
    message: str
    """The new user text as typed."""
    generated: str
    withheld: str
    delivered: str
    """What the person was shown; while no closing record stands, put together from the releases."""
    records: tuple[Entry, ...]
    """Every record of the turn, oldest first, without contents."""
    reason: str = ""
    closing_kind: str = ""
    """Empty while the turn runs."""
    name: str = ""
    conversation_id: str = ""
    surface: str = ""
    model: str = ""
    categories: tuple[str, ...] = ()
    comments: tuple[Content, ...] = ()
    """Texts of records that came later (feedback), oldest first."""
    mirrored: str = ""
    """What another version of the model said to the same dialogue; nobody was shown it."""


class AuditLog(Protocol):
    """The log: append durably, read back."""

    async def append(self, *entries: Entry) -> tuple[Receipt, ...]:
        """Make the entries durable, in order and in one transaction, before returning.

        Raises `AuditUnavailableError` when that failed: then nothing may be shown.
        """

    async def turns(self, which: TurnFilter) -> tuple[TurnSummary, ...]:
        """List turns, newest first."""

    async def turn(self, turn_id: str) -> TurnTrail | None:
        """Return one turn whole, or None when there is none."""

    def entries(self, kinds: tuple[str, ...] = (), limit: int = 1000) -> AsyncIterator[Entry]:
        """Yield records of these kinds (all when empty), oldest first, without contents."""

    async def ready(self) -> bool:
        """Whether an append would succeed now."""
