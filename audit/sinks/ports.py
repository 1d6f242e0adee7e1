"""Where records are delivered to be searched: what the delivery worker asks of such a place."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """A document ready to be sent. Bytes: a batch of them is nothing for the garbage collector to look through."""

    index: str
    id: str
    body: bytes
    """JSON in UTF-8, one line."""


class Document(msgspec.Struct, frozen=True):
    """What one index is to hold."""

    index: str
    id: str
    """Empty: the place gives one. Otherwise a second document of this id is never made."""
    source: dict[str, Any]

    def packed(self) -> Parcel:
        """Return the document as it is sent."""
        return Parcel(self.index, self.id, msgspec.json.encode(self.source))


class Fate(StrEnum):
    """What became of a document."""

    CREATED = "created"
    PRESENT = "present"
    """It was there already: an earlier try had succeeded."""
    LATER = "later"
    """Not now: the place is busy, or not set up for it; the document is not at fault."""
    REFUSED = "refused"
    """Never: the document itself is not accepted."""


class Answer(msgspec.Struct, frozen=True):
    """What became of one document, and why."""

    fate: Fate
    reason: str = ""
    """Stable code and status (`document_parsing_exception 400`); never anything of the document."""


class SinkUnavailableError(Exception):
    """The place takes nothing now; nothing is known of the documents, and all of them may be sent again."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        """`reason` is a stable code; `retry_after_s` is what the place asked for, 0 where it did not."""
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Sink(Protocol):
    """A place for documents. Sending one twice has the effect of sending it once."""

    async def deliver(self, parcels: Sequence[Parcel]) -> tuple[Answer, ...]:
        """Send documents and return what became of each, in order. Raises `SinkUnavailableError`."""

    async def close(self) -> None:
        """Give up connections."""
