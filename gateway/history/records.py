"""The values that the history gives out."""

from datetime import datetime

import msgspec

RUNNING = "running"
"""Outcome of a turn that has not ended; the other outcomes are those of `gateway.turn_events.Outcome`."""

CUT_SHORT = "length"
"""Reason of a completed turn whose answer reached the longest that was asked for."""


class Conversation(msgspec.Struct, frozen=True):
    """One conversation of one person."""

    id: str
    subject: str
    title: str
    """Empty until the first message that was not blocked, or a name that the person gave."""
    created_at: datetime
    updated_at: datetime


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as its author saw it. Outcome, reason and so on are those of its turn."""

    id: str
    conversation_id: str
    position: int
    role: str
    text: str
    turn_id: str
    outcome: str
    reason: str = ""
    categories: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    redacted: bool = False
    """A user message: replaced in part on its way to the model. An answer: replaced in part before it was shown."""
    tokens: int = 0
    duration_ms: int = 0
    rating: int = 0
    """1 up, -1 down, 0 not rated."""
    comment: str = ""
    appeal: str = ""
    """Empty: none. `open`, then `harmful` or `harmless` as the reviewers found."""
    appeal_note: str = ""
    """What the reviewers say to the person."""
    created_at: datetime
    updated_at: datetime


class OpenedTurn(msgspec.Struct, frozen=True):
    """Ids of the two messages of a turn that has begun."""

    user_message: str
    answer: str
    title: str
    """The conversation's title now."""
