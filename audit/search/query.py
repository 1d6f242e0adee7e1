"""What may be asked of the log's turns, checked before anything is looked up. Pure."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Self

import msgspec

from audit.canonical import text_bytes
from audit.search.words import words_of

LONGEST_VALUE = 1000
"""Characters of a filter's value."""
LONGEST_TEXT = 200
"""Characters of a text that is searched for."""
MOST_WORDS = 64


class QueryError(Exception):
    """The query cannot be answered as it is; the message names the field, and never quotes its value."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


class Order(StrEnum):
    """By the time at which turns were opened."""

    NEWEST = "newest"
    OLDEST = "oldest"


class TurnQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which turns to find; empty fields do not filter, and all others must hold together."""

    subject: str = ""
    """The provider's stable subject of the person."""
    group: str = ""
    role: str = ""
    conversation_id: str = ""
    verdict: str = ""
    """As the turn stands now: of a running turn, that of its opening record."""
    category: str = ""
    """Of any finding, enforced or not."""
    rule: str = ""
    model: str = ""
    """As it was asked for."""
    since: datetime | None = None
    """Opened at this time or later."""
    until: datetime | None = None
    """Opened before this time."""
    text: str = ""
    """Words one after another, or any Chinese string, in one text of the turn: see `audit.search.words`."""
    order: Order = Order.NEWEST

    def checked(self) -> Self:
        """Return the query itself. Raises `QueryError`."""
        for name in TEXT_FIELDS:
            longest = LONGEST_TEXT if name == "text" else LONGEST_VALUE
            if len(getattr(self, name)) > longest:
                raise QueryError(name, f"at most {longest} characters")
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise QueryError(name, "a time needs its zone, for instance 2026-11-20T08:00:00Z")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise QueryError("until", "must be later than since")
        if self.text and not 1 <= len(words_of(self.text)) <= MOST_WORDS:
            raise QueryError("text", f"must hold 1 to {MOST_WORDS} words or characters that can be looked for")
        return self

    def filters(self) -> dict[str, str]:
        """Return what is asked for beside the text, as records say it: names → values, times in RFC 3339."""
        given: dict[str, str] = msgspec.to_builtins(self)
        return {name: value for name, value in given.items() if value and name not in {"text", "order"}}

    def fingerprint(self) -> bytes:
        """Return 32 bytes that differ for different queries: what a cursor is bound to."""
        hashed = hashlib.sha256()
        for name, value in sorted({**self.filters(), "text": self.text, "order": self.order.value}.items()):
            data = text_bytes(value)
            hashed.update(f"{name}:{len(data)}:".encode() + data)
        return hashed.digest()


TEXT_FIELDS = tuple(name for name in TurnQuery.__struct_fields__ if name not in {"since", "until", "order"})
"""Fields that hold text."""
