"""Markdown emphasis within a word ('**I**gnore', 'bu**i**ld', '炸**弹**'): a page shows the word without the signs.

Words that are emphasised whole keep their signs, and so do formulas ('a**b**c', '2**n**k', 'rate*price*12'), and words
with stars in the place of vowels ('wh*r*es'): without them nobody would know the word.
"""

import re
from collections.abc import Iterator

_EMPHASIS = re.compile(r"(?<![*\\])(\*{1,3})([^\W\d_]{1,40})\1(?!\*)")
_LONGEST_WITHIN_ONE_SIGN = 2
"""Letters between single stars, which multiply more often than they emphasise."""
_WORD = 2
"""So many letters beside the signs are a word, not the name of a number."""
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ")


def may_be_emphasised(text: str) -> bool:
    """Whether `text` holds emphasis within a word."""
    return "*" in text and next(emphasis_signs(text), None) is not None


def emphasis_signs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the signs, rising."""
    for found in _EMPHASIS.finditer(text):
        if _within_a_word(found):
            yield found.start(), found.start(2)
            yield found.end(2), found.end()


def _within_a_word(found: re.Match[str]) -> bool:
    before = found.string[max(0, found.start() - _WORD) : found.start()]
    after = found.string[found.end() : found.end() + _WORD]
    if before[-1:].isdigit() or after[:1].isdigit():
        return False
    left, right = _letters(before[::-1]), _letters(after)
    if len(found[1]) == 1:
        word = len(found[2]) <= _LONGEST_WITHIN_ONE_SIGN and right == _WORD and left in (0, _WORD)
        # A star with consonants alone on both sides is the vowel between them.
        return word and not _mute(found[2] + after) and not (left and _mute(before + found[2]))
    return left + right > 0 and (len(found[2]) > 1 or not left == right == 1)


def _letters(beside: str) -> int:
    """Letters that follow one another from the signs on."""
    return 0 if not beside[:1].isalpha() else 2 if beside[1:].isalpha() else 1


def _mute(letters: str) -> bool:
    """Whether they are consonants alone; letters of other alphabets are none."""
    return _CONSONANTS.issuperset(letters)
