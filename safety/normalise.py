"""The one reading of a text that every guard shares: `normalise(text) -> NormalisedText`.

Read as plain text: compatibility and full-width forms (NFKC of each character), invisible and control characters,
floods of combining marks, emphasis within words, letters spaced out, look-alike letters, traditional Chinese
characters (for matching), and what is hidden in encodings, as segments. Offsets lead back to the original. `VERSION`
stands in every audit record; raise it with any change that can change a verdict.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

from safety.normalising.decode import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_SEGMENTS,
    Hidden,
    hidden_in,
    hidden_in_controls,
    may_hide,
)
from safety.normalising.emphasis import may_be_emphasised
from safety.normalising.fold import fold
from safety.normalising.spaced import may_be_spaced
from safety.normalising.tables import tables
from safety.normalising.text import NormalisedText, Segment

__all__ = ["TOO_MUCH", "VERSION", "Before", "NormalisedText", "Segment", "normalise", "warm_up"]

VERSION = "5"
TOO_MUCH = "encoded.too_much"
"""Change that is noted when encodings were nested deeper, or held more, than is looked into."""

_Placed = tuple[Hidden, int, int]
"""A hidden text and the span of the original that it was found in."""


@dataclass(frozen=True, eq=False)
class Before:
    """What stands before a text that is a piece of a longer one; read as plain text when a check first asks for it."""

    original: str = field(default="", repr=False)

    @cached_property
    def text(self) -> str:
        """Its plain text, without what encodings hide in it."""
        return _fold_text(self.original)


def normalise(text: str) -> NormalisedText:
    """Read `text` as guards shall see it; linear in its length, never raises."""
    table = tables()
    if table.structural.search(text) is None:
        folded = text if text.isascii() else text.translate(table.translation)
        raw = folded.encode("utf-8")
        if not (may_be_spaced(raw) or may_be_emphasised(folded)):
            changes = () if folded == text else ("forms",)
            if not may_hide(raw):
                return NormalisedText(text, folded, (), changes)
            return _with_segments(NormalisedText(text, folded, (), changes))
    reading = fold(text)
    read = NormalisedText(text, reading.text, (), tuple(sorted(reading.changes)), reading.starts, reading.ends)
    return _with_segments(read)


def warm_up() -> None:
    """Build the tables and patterns now, so that no turn pays for it (about 0.1 s)."""
    normalise("warm up \u200b %41%42")


def _with_segments(read: NormalisedText) -> NormalisedText:
    layer = [(h, h.start, h.end) for h in hidden_in_controls(read.original)]
    layer += [(h, *read.original_span(h.start, h.end)) for h in hidden_in(read.text)]
    if not layer:
        return read
    found: list[Segment] = []
    room, cut = MAX_CHARACTERS, False
    for depth in range(1, MAX_DEPTH + 1):
        below: list[_Placed] = []
        for hidden, start, end in _bundled(layer):
            text = _fold_text(hidden.text[:room])
            cut = cut or len(hidden.text) > room
            room -= min(room, len(hidden.text))
            found.append(Segment(hidden.kind, text, start, end, depth))
            below += [(deeper, start, end) for deeper in hidden_in(text)]
        layer = below
    kinds = {f"encoded.{s.kind}" for s in found} | ({TOO_MUCH} if cut or layer else set())
    return replace(read, segments=tuple(found), changes=tuple(sorted({*read.changes, *kinds})))


def _fold_text(text: str) -> str:
    table = tables()
    folded = text.translate(table.translation)
    whole = table.structural.search(text) or may_be_spaced(folded.encode("utf-8")) or may_be_emphasised(folded)
    return fold(text).text if whole else folded


def _bundled(layer: list[_Placed]) -> list[_Placed]:
    """Keep the number of segments bounded without losing one: what is over the limit becomes one long segment."""
    rest = layer[MAX_SEGMENTS:]
    if not rest:
        return layer
    first, last = min(start for _, start, _ in rest), max(end for _, _, end in rest)
    bundle = Hidden("several", "\n".join(hidden.text for hidden, _, _ in rest), 0, 0)
    return [*layer[:MAX_SEGMENTS], (bundle, first, last)]
