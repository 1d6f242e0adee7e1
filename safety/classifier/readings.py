"""Second readings of a text whose words or sentences were broken up on purpose.

Digits stand for letters, emoji or hyphens inside words; sentences are cut into the cells of a table.
Only texts in which that is plainly meant have one; what ordinary people write (`B2B`, `state-of-the-art`, 👍) is none.
"""

import re

from safety.classifier.tables import joined
from safety.normalise import NormalisedText

_WORD = re.compile(r"[A-Za-z0-9@$!|]+")
_MIXED = re.compile(r"[A-Za-z][0-9@$!|]|[0-9@$!|][A-Za-z]")
_LETTER = re.compile(r"[A-Za-z]")
_SHORTEST = 3
"""Characters of a word that tell that it is mixed."""
_MIXED_WORDS = 3
"""Least mixed words of a text that has a reading; they are a third of its words, too."""
_PICTURE = re.compile(
    "(?<=[A-Za-z\u4e00-\u9fff])[\u2190-\u22ff\u2460-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f]{1,3}"
    "(?=[A-Za-z\u4e00-\u9fff])"
)
_PICTURES = 2
_HYPHEN = re.compile("(?<=[a-z])-(?=[a-z])")
_HYPHENATED = re.compile("(?<![a-z])[a-z]++(?:-[a-z]++)++")
_LEAST_HYPHENATED = 3
_AMONG = 3
"""Words of which one is hyphenated, at the most."""
_SPACE = re.compile(r"\s++")


def readings(text: NormalisedText) -> tuple[str, ...]:
    """Return what a text says without its disguise, once for each kind that it shows; mostly none. Linear."""
    found = (_with_letters(text), _without_pictures(text.text), _without_hyphens(text.text), joined(text.text))
    return tuple(reading for reading in found if reading)


def _with_letters(text: NormalisedText) -> str:
    """Return a text with the letters that its digits and signs stand for."""
    if text.leet is text.lowered:
        return ""
    words = _WORD.findall(text.text)
    mixed = sum(len(word) >= _SHORTEST and _MIXED.search(word) is not None for word in words)
    if mixed < _MIXED_WORDS or mixed * 3 < len(words):
        return ""
    return _WORD.sub(lambda word: _lettered(word, text.leet), text.lowered)


def _lettered(word: "re.Match[str]", leet: str) -> str:
    """Leave numbers alone: only a word with letters, or a sign by itself, is read anew."""
    return leet[word.start() : word.end()] if len(word[0]) == 1 or _LETTER.search(word[0]) else word[0]


def _without_pictures(text: str) -> str:
    return _PICTURE.sub("", text) if len(_PICTURE.findall(text)) >= _PICTURES else ""


def _without_hyphens(text: str) -> str:
    least = max(_LEAST_HYPHENATED, len(_SPACE.findall(text)) // _AMONG)
    return _HYPHEN.sub("", text) if len(_HYPHENATED.findall(text)) >= least else ""
