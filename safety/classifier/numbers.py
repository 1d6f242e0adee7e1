"""Tokens that no reader learnt to read: long rows of numbers, and long random signs. Both look like an attack to it."""

import re
from collections.abc import Iterator

_ROW = re.compile(r"(?<!\w)\d++(?:\W++\d++(?!\w)){9,}+")
"""Ten numbers and more with no word between them; `3月` and `12kg` are words."""
_LONG = re.compile(r"[A-Za-z0-9+/_=-]{64,}+")
_CHANGES = re.compile(r"[a-z][A-Z0-9]|[A-Z][a-z0-9]|[0-9][A-Za-z]")
_DIGIT = re.compile(r"[0-9]")
_WORDED = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z]?[a-z]++|[A-Z]++|[0-9]++)(?![A-Za-z0-9])|[A-Za-z][a-z]{3,}+")
"""Words and numbers between signs (`Make_A_Pipe`), and longer words strung together (`MakeAPipe`). They are half of$
what somebody says so, and less of what is random: of base64 a seventh on average."""
_KEPT = 8
"""First signs of a random run that are still read: it shows what it is."""
_WORDS = re.compile(r"[^\W\d_]{3}|[\u3400-\u9fff]")


def unread(text: str) -> list[tuple[int, int]]:
    """Return the spans of a text that say nothing in words, in order; linear in the text."""
    return sorted((*(match.span() for match in _ROW.finditer(text)), *_random(text)))


def _random(text: str) -> Iterator[tuple[int, int]]:
    for match in _LONG.finditer(text):
        # Random signs change their kind all the time, have digits among them, and hardly any of them make words.
        run = match[0]
        changes, digits = len(_CHANGES.findall(run)), len(_DIGIT.findall(run))
        if changes * 8 > len(run) < digits * 16 and 2 * sum(map(len, _WORDED.findall(run))) < len(run):
            yield match.start() + _KEPT, match.end()


def says_nothing(text: str, spans: list[tuple[int, int]]) -> bool:
    """Whether what is left of a text without these spans has no two words."""
    at, words = 0, 0
    for start, end in (*spans, (len(text), len(text))):
        words += sum(1 for _ in _WORDS.finditer(text, at, start))
        if words > 1:
            return False
        at = end
    return True
