"""Word lists in an Aho-Corasick automaton: thousands of words in one pass, whole words only, with an allow-list."""

import re
from collections.abc import Iterable, Iterator

import numpy as np
from ahocorasick_rs import AhoCorasick, MatchKind
from numpy.typing import NDArray

from safety.filters.pinyin import initials
from safety.filters.places import Places
from safety.normalise import NormalisedText, normalise

_SHORTEST_INITIALS = 4
"""Han characters of a word that is also found by its pinyin initials; two or three letters would hit anything."""
_STRETCH = 16_384
"""Characters that are searched at a time: one list holds the hits of a stretch, not those of a whole text."""
_HAN = "[\u3400-\u9fff\U00020000-\U0003ffff]"
_GAP = re.compile(rf"((?<={_HAN})\s+(?={_HAN}))|\s{{2,}}|[^\S ]")
"""White space that is more than one plain space; first what stands between Chinese characters."""

_Span = tuple[int, int]


class WordFinder:
    """Finds phrases without regard to case, in the text and in its second reading (`h4ck`).

    A Latin word must stand alone; Chinese has no spaces, so there a hit inside a longer word is told apart only by the
    allow-list of longer harmless words. A Chinese word of four characters or more is found by its pinyin initials too.
    White space of any kind and length, a line break too, is one space, and between Chinese characters it is nothing.
    """

    def __init__(self, words: tuple[str, ...], allow: tuple[str, ...] = ()) -> None:
        """Words are normalised and lowered like the texts; empty ones raise `ValueError`."""
        plain = [_key(word) for word in words]
        if not all(plain):
            raise ValueError("a word list holds an empty word")
        short = {form for word in plain if len(word) >= _SHORTEST_INITIALS for form in initials(word)}
        self._words = _Automaton([*plain, *sorted(short)])
        self._allow = _Automaton([_key(word) for word in allow])

    def spans(self, text: NormalisedText) -> Iterable[_Span]:
        """Return spans of `text.text`, each once; when there are too many, the last one reaches over the rest."""
        places = Places()
        for start, end in self._each(text):
            places.add(start, end)
        return places.spans()

    def occur_in(self, text: NormalisedText) -> bool:
        """Whether any word stands in the text."""
        return next(self._each(text), None) is not None

    def _each(self, text: NormalisedText) -> Iterator[_Span]:
        closed = _Closed(text.text)
        for reading in dict.fromkeys((text.lowered, text.leet)):
            close = closed.of(reading)
            hits = (span for span in self._words.found_in(close) if _stands_alone(closed.text, *span))
            yield from (closed.original_span(*span) for span in _outermost(hits, self._allow.found_in(close)))


class _Closed:
    """A text with its gaps closed, and the way back to where its characters stood."""

    def __init__(self, text: str) -> None:
        self._gaps = [(gap.start(), gap.end(), gap[1] is None) for gap in _GAP.finditer(text)]
        self._places: NDArray[np.int64] | None = None
        self._size = len(text)
        self.text = self.of(text)

    def of(self, reading: str) -> str:
        """Return another reading of the text (same length, same gaps) with the gaps closed."""
        if not self._gaps:
            return reading
        parts, at = [], 0
        for start, end, spaced in self._gaps:
            parts += [reading[at:start], " " if spaced else ""]
            at = end
        return "".join([*parts, reading[at:]])

    def original_span(self, start: int, end: int) -> _Span:
        """Map a span that neither begins nor ends with a gap back to the text."""
        if not self._gaps:
            return start, end
        if self._places is None:
            kept = np.ones(self._size, dtype=np.bool_)
            for first, last, spaced in self._gaps:
                kept[first + spaced : last] = False
            self._places = np.flatnonzero(kept)
        return int(self._places[start]), int(self._places[end - 1]) + 1


class _Automaton:
    """Some words, each found wherever it stands, also where it overlaps another or lies within it."""

    def __init__(self, words: list[str]) -> None:
        self._automaton = AhoCorasick(words, matchkind=MatchKind.Standard) if words else None
        self._longest = max(map(len, words), default=0)

    def found_in(self, text: str) -> Iterator[_Span]:
        """Yield spans by their starts, the longest of each start first."""
        if self._automaton is None:
            return
        for begin in range(0, len(text), _STRETCH):
            stretch = text[begin : begin + _STRETCH + self._longest]
            hits = self._automaton.find_matches_as_indexes(stretch, overlapping=True)
            spans = ((start, -end) for _, start, end in hits if start < _STRETCH)
            yield from ((begin + start, begin - end) for start, end in sorted(spans))


def _outermost(hits: Iterator[_Span], allowed: Iterator[_Span]) -> Iterator[_Span]:
    """Yield the hits that lie neither within another hit nor within what is allowed; all come by their starts.

    What begins no later than a hit and ends furthest holds the hit, or nothing does: one number is all to remember.
    """
    reach = 0
    ahead: _Span | None = (0, 0)  # `allowed` is not asked before there is a hit
    for start, end in hits:
        while ahead is not None and ahead[0] <= start:
            reach, ahead = max(reach, ahead[1]), next(allowed, None)
        if end > reach:
            reach = end
            yield start, end


def _key(word: str) -> str:
    return _Closed(normalise(word).lowered).text.strip()


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no Latin letter or digit continues the word at either end."""
    opens = start == 0 or not (_latin(text[start]) and _latin(text[start - 1]))
    return opens and (end == len(text) or not (_latin(text[end - 1]) and _latin(text[end])))


def _latin(char: str) -> bool:
    return char.isalnum() and ord(char) < 0x250  # noqa: PLR2004 - end of Latin Extended-B
