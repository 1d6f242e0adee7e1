"""Disguised copies: what is left of an evasion after the runtime's normaliser has read it.

Most disguises are undone and the copy equals the row; what the normaliser leaves (numbers for letters, stretched or
starred letters, words cut apart, ornaments between Chinese characters) is what the network must learn to read.
"""

import random
import re
from collections.abc import Callable

from safety.classifier.tokenise import is_han
from safety.normalise import normalise

LONGEST = 300
"""Longer rows stay as they are."""
_LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})
_SIGNS = str.maketrans({"a": "@", "i": "!", "s": "$", "o": "0"})
_WORD = re.compile(r"[A-Za-z]{4,}")


def _each_word(text: str, dice: random.Random, change: Callable[[str], str]) -> str:
    return _WORD.sub(lambda match: change(match[0]) if dice.random() < 0.4 else match[0], text)  # noqa: PLR2004 - some words


def _starred(word: str, dice: random.Random) -> str:
    at = dice.randrange(1, len(word) - 1)
    return word[:at] + dice.choice("*#_-") + word[at + 1 :]


def _stretched(word: str, dice: random.Random) -> str:
    at = dice.randrange(1, len(word))
    return word[:at] + word[at] * dice.randrange(2, 5) + word[at + 1 :]


def _cut(word: str, dice: random.Random) -> str:
    at = dice.randrange(1, len(word) - 1)
    return word[:at] + dice.choice([" ", ".", "-", "/"]) + word[at:]


def _ornamented(text: str, dice: random.Random) -> str:
    mark = dice.choice([" ", "*", "·", "-", "~", "😀", ".", "\u200b"])
    return "".join(
        one + (mark if is_han(one) and dice.random() < 0.4 else "")  # noqa: PLR2004 - some characters
        for one in text
    )


def disguised(text: str, dice: random.Random) -> str:
    """Return `text` as the guard would see it when its writer had tried to hide it."""
    if len(text) > LONGEST:
        return text
    if any(is_han(one) for one in text[:20]):
        changed = _ornamented(text, dice)
    else:
        ways: list[Callable[[str], str]] = [
            lambda word: word.lower().translate(_LEET),
            lambda word: word.lower().translate(_SIGNS),
            lambda word: _starred(word, dice),
            lambda word: _stretched(word, dice),
            lambda word: _cut(word, dice),
            " ".join,
        ]
        changed = _each_word(text, dice, dice.choice(ways))
    return normalise(changed).text or text
