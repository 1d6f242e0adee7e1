"""Texts as evidence: every character visible, findings marked where they were found. Pure."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from audit.record import FindingRecord

SHOWN = 20_000
"""Characters of one text that a page shows unless all are asked for."""
WHOLE = 200_000
"""Characters of one text that a page shows when all are asked for: a browser stalls on more. Exports have them all."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)


@dataclass(frozen=True)
class Piece:
    """A stretch of text and the numbers of the findings that cover it."""

    html: Markup
    findings: tuple[int, ...]
    strong: bool = False
    """Whether any of them was acted upon."""


@dataclass(frozen=True)
class Marked:
    """A text as it is shown."""

    pieces: tuple[Piece, ...]
    characters: int
    left_out: int
    """Characters that are not shown."""


def marked(text: str, findings: Sequence[tuple[int, FindingRecord]], *, whole: bool = False) -> Marked:
    """Return a text cut where findings begin and end; findings come with their numbers, spans in code points."""
    acted = {number for number, one in findings if one.action != "allow" and not one.shadow}
    shown = text[: WHOLE if whole else SHOWN]
    spans = [(number, _within(one.start, shown), _within(one.end, shown)) for number, one in findings]
    edges = sorted({0, len(shown), *(edge for _, start, end in spans for edge in (start, end))})
    pieces = tuple(
        _piece(shown[start:end], [number for number, a, b in spans if a <= start and end <= b], acted)
        for start, end in itertools.pairwise(edges)
        if start < end
    )
    return Marked(pieces, len(text), len(text) - len(shown))


def _piece(text: str, numbers: Sequence[int], acted: set[int]) -> Piece:
    return Piece(revealed(text), tuple(numbers), not acted.isdisjoint(numbers))


def _within(place: int, text: str) -> int:
    return max(0, min(len(text), place))


def revealed(text: str) -> Markup:
    """Return text as HTML in which no character is hidden: what cannot be seen or reorders is written out."""
    parts: list[Markup] = []
    at = 0
    for found in _HIDDEN.finditer(text):
        parts.append(escape(text[at : found.start()]))
        parts.append(Markup('<span class="unseen">U+{:04X}</span>').format(ord(found.group())))
        at = found.end()
    parts.append(escape(text[at:]))
    return Markup("").join(parts)


def of_text(findings: Iterable[tuple[int, FindingRecord]], where: str) -> list[tuple[int, FindingRecord]]:
    """Return the findings in one text: `message`, `answer`."""
    return [(number, one) for number, one in findings if one.where == where]
