"""What the checks of a database need of a leaf, read at once and typed: enough to see that a record is as it must be.

A brief decides nothing against a record. Where it cannot be made, or where it and the database differ, the record is
read whole, and the checks that name what is wrong say what they find.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from audit.canonical import column
from audit.record import Kind
from audit.verification.drivers import Values

OPENS = Kind.TURN_ACCEPTED.value
_ERASED = Kind.SUBJECT_ERASED.value


class Flag(msgspec.Struct, frozen=True):
    """What turns are found by because of a finding."""

    category: str = ""
    rule: str = ""


class Brief(msgspec.Struct, frozen=True):
    """The fields of a leaf that something beside it must agree with."""

    at: str
    entry_id: str
    kind: str
    subject: str
    turn_id: str = ""
    conversation_id: str = ""
    verdict: str = ""
    model: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    findings: tuple[Flag, ...] = ()
    commitments: msgspec.Raw | msgspec.UnsetType = UNSET
    context: msgspec.Raw | msgspec.UnsetType = UNSET
    escaped: bool = False

    def without_texts(self) -> bool:
        """Whether no text belongs to it, and it says nothing of texts."""
        return self.commitments is UNSET and self.context is UNSET and self.kind != _ERASED


_DECODER = msgspec.json.Decoder(Brief)


class Read(NamedTuple):
    """A record that could be read."""

    place: int
    """Its index in the log."""
    leaf: bytes
    brief: Brief | None = None
    """None: it has to be read whole."""
    at_us: int | None = None
    """Its time in microseconds, with a brief."""
    fields: dict[str, Any] | None = None
    """What it holds, where it was read whole already."""

    def whole(self) -> dict[str, Any]:
        """Return all of its fields."""
        return msgspec.json.decode(self.leaf) if self.fields is None else self.fields


def brief_of(leaf: bytes) -> Brief | None:
    """Return the brief of a leaf that was found canonical; None when it has to be read whole."""
    try:
        brief = _DECODER.decode(leaf)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if brief.escaped else brief


def agrees(row: Values, brief: Brief, at_us: int | None) -> bool:
    """Whether the columns of a row of `audit_entry` are what its leaf says, told without a doubt."""
    _, entry_id, _, _, kind, held_us, subject, turn_id = row
    held = (entry_id, kind, held_us, subject, turn_id)
    said = (brief.entry_id, brief.kind, at_us, column(brief.subject), brief.turn_id)
    return held == said and column(brief.turn_id) == brief.turn_id
