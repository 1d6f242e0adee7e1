"""A turn as readers get it: its decision trail, and its texts where they may be read."""

import json

import msgspec

from audit.ports import TurnSummary, TurnTrail
from audit.record import Content, Entry


class ShownTexts(msgspec.Struct, frozen=True):
    """The texts of one turn. What was erased is empty."""

    dialogue: tuple[Content, ...]
    """What the model was sent, in order."""
    message: str
    generated: str
    withheld: str
    delivered: str
    comments: tuple[Content, ...]
    mirrored: str = ""
    """What another version of the model said, shown to nobody."""


class ShownTurn(msgspec.Struct, frozen=True):
    """One turn: the line of a list, every record, and its texts or null."""

    turn: TurnSummary
    records: tuple[Entry, ...]
    """Every record of the turn, oldest first, also those of people who read it."""
    content: ShownTexts | None = None


def summary_in(trail: TurnTrail) -> TurnSummary:
    """Return the line that lists have of a turn."""
    return TurnSummary(**{name: getattr(trail, name) for name in TurnSummary.__struct_fields__})


def shown(trail: TurnTrail, *, content: bool) -> ShownTurn:
    """Return a turn as it is shown, its texts only when `content` says so."""
    texts = ShownTexts(**{name: getattr(trail, name) for name in ShownTexts.__struct_fields__}) if content else None
    return ShownTurn(summary_in(trail), trail.records, texts)


def to_json(value: object) -> bytes:
    """Return JSON in UTF-8; a text with a lone surrogate, which UTF-8 has not, is written with escapes."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()
