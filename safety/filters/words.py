"""Word lists in an Aho-Corasick automaton: thousands of words in one pass, whole words only, with an allow-list."""

from collections.abc import Iterator

from ahocorasick_rs import AhoCorasick, MatchKind

from safety.filters.pinyin import initials
from safety.normalise import NormalisedText, normalise

_SHORTEST_INITIALS = 4
"""Han characters of a word that is also found by its pinyin initials; two or three letters would hit anything."""


class WordFinder:
    """Finds phrases without regard to case, in the text and in its second reading (`h4ck`).

    A Latin word must stand alone; Chinese has no spaces, so there a hit inside a longer word is told apart only by the
    allow-list of longer harmless words. A Chinese word of four characters or more is found by its pinyin initials too.
    """

    def __init__(self, words: tuple[str, ...], allow: tuple[str, ...] = ()) -> None:
        """Words are normalised and lowered like the texts; empty ones raise `ValueError`."""
        plain = [_key(word) for word in words]
        if not all(plain):
            raise ValueError("a word list holds an empty word")
        short = {form for word in plain if len(word) >= _SHORTEST_INITIALS for form in initials(word)}
        self._words = _automaton([*plain, *sorted(short)])
        self._allow = _automaton([_key(word) for word in allow]) if allow else None

    def spans(self, text: NormalisedText) -> Iterator[tuple[int, int]]:
        """Yield spans of `text.text`, each once."""
        seen: set[tuple[int, int]] = set()
        for reading in dict.fromkeys((text.lowered, text.leet)):
            hits = self._words.find_matches_as_indexes(reading)
            allowed = self._allowed(reading) if hits else []
            for _, start, end in hits:
                if (start, end) in seen or not _stands_alone(text.text, start, end):
                    continue
                if not any(first <= start and end <= last for first, last in allowed):
                    seen.add((start, end))
                    yield start, end

    def _allowed(self, reading: str) -> list[tuple[int, int]]:
        if self._allow is None:
            return []
        return [(start, end) for _, start, end in self._allow.find_matches_as_indexes(reading)]


def _key(word: str) -> str:
    return normalise(word.strip()).lowered


def _automaton(words: list[str]) -> AhoCorasick:
    return AhoCorasick(words, matchkind=MatchKind.LeftmostLongest)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no Latin letter or digit continues the word at either end."""
    opens = start == 0 or not (_latin(text[start]) and _latin(text[start - 1]))
    return opens and (end == len(text) or not (_latin(text[end - 1]) and _latin(text[end])))


def _latin(char: str) -> bool:
    return char.isalnum() and ord(char) < 0x250  # noqa: PLR2004 - end of Latin Extended-B
