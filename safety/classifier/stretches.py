"""What of a text is judged, and how much each verdict counts.

A message is judged as a whole and by its sentences (`tokenise`), decoded segments each by themselves, and so is what a
broken-up text says without its disguise (`readings`). In a long text one sentence is drowned by its neighbours, and a
window that says nothing harmful may look so as a whole. There the likeliest sentences are judged alone as well, and a
window's verdict needs a sentence in it that bears it out (`guard`).
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safety.classifier.readings import readings
from safety.classifier.tables import beside, spelt
from safety.classifier.tokenise import CHUNK, Ids, Tokeniser, Tokens, Unit
from safety.normalise import NormalisedText

READING_DOUBT = 2.0
"""A second reading counts where it is twice as sure: nobody wrote those words."""
SPELT_DOUBT = 5.0
"""What the cells of an ordinary table say looks like much when it is run together: it must be nearly certain."""
ALONE = 8
"""Sentences of a long text that are judged alone: those of the likeliest wording. More found nothing more."""
ALONE_DOUBT = 20.0
"""They count where they are all but certain: without its neighbours a sentence is easily misread."""

Wording = Callable[[Ids], float]
"""How harmful the wording of a framed sequence is: cheap, and good enough to choose by."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens to judge and the span of the original that a finding in them names."""

    ids: Ids
    start: int
    end: int
    doubt: float = 1.0
    """What a score's distance from certainty is multiplied with before it counts."""
    parts: tuple[Ids, ...] = ()
    """Of a window of a long text: its sentences, of which one must bear its verdict out."""


def cut(
    text: NormalisedText, overlap: int, tokeniser: Tokeniser, wording: Wording | None
) -> tuple[list[Stretch], Tokens]:
    """Return the stretches of a text and its tokens. Raises `TextTooLongError`.

    `overlap`: characters at the beginning that were judged when they were new.
    """
    tokens = tokeniser.encode(text.text)
    first_new = bisect.bisect_left(tokens.offsets, overlap, key=lambda at: text.original_span(*at)[0])
    units = tokeniser.units_after(tokens, first_new) if overlap else tokeniser.units(tokens)
    stretches = _of(units, tokeniser.parts(tokens, first_new), wording, text.original_span)
    for segment in text.segments:
        stretches += _inside(segment.text, tokeniser, (segment.start, segment.end), wording)
    said = [(beside(text.text), READING_DOUBT), (spelt(text.text), SPELT_DOUBT)]
    said += [(reading, READING_DOUBT) for reading in readings(text)]
    for reading, doubt in said:
        units = tokeniser.units(tokeniser.encode(reading))
        stretches += [Stretch(unit.ids, 0, len(text.original), doubt) for unit in units]
    return stretches, tokens


def _inside(text: str, tokeniser: Tokeniser, span: tuple[int, int], wording: Wording | None) -> list[Stretch]:
    """Return the stretches of a decoded text, of which all that can be named is where it was hidden."""
    tokens = tokeniser.encode(text)
    return _of(tokeniser.units(tokens), tokeniser.parts(tokens), wording, lambda _start, _end: span)


def _of(
    units: Sequence[Unit],
    parts: Sequence[Unit],
    wording: Wording | None,
    place: Callable[[int, int], tuple[int, int]],
) -> list[Stretch]:
    stretches = [Stretch(unit.ids, *place(unit.start, unit.end), parts=_parts_in(unit, parts)) for unit in units]
    likeliest = parts if wording is None else sorted(parts, key=lambda part: -wording(part.ids))
    alone = [Stretch(part.ids, *place(part.start, part.end), ALONE_DOUBT) for part in likeliest[:ALONE]]
    return stretches + alone


def _parts_in(window: Unit, parts: Sequence[Unit]) -> tuple[Ids, ...]:
    """Return the sentences that a window has something of; nothing where one is long: that would be the window."""
    first = bisect.bisect_right(parts, window.start, key=lambda part: part.end)
    inside = []
    for part in parts[first:]:
        if part.start >= window.end:
            break
        if len(part.ids) > CHUNK + 2:
            return ()
        inside.append(part.ids)
    return tuple(inside)
