"""The first letters of a Chinese word's readings, as people type them to get past a word list ('txjh' for 天下计划).

GB 2312 orders its 3,755 everyday characters by their pinyin, so that the place of a character gives its initial. A
character with several readings has the one that the standard sorts it by; for one rarer character of a word every
letter is taken. What this misses can stand on the list itself.
"""

import bisect
from collections.abc import Iterator

# First character of each letter in GB 2312; no reading begins with i, u or v.
_FIRST = "啊芭擦搭蛾发噶哈击喀垃妈拿哦啪期然撒塌挖昔压匝"
_LETTERS = "abcdefghjklmnopqrstwxyz"
_PLACES = [char.encode("gb2312") for char in _FIRST]
_LAST = "座".encode("gb2312")


def initials(word: str) -> Iterator[str]:
    """Yield the initials of `word`; nothing when it holds another script, or more than one rare character."""
    letters = [letter for char in word if (letter := _initial(char)) is not None]
    if len(letters) < len(word) or letters.count("") > 1:
        return
    yield from {"".join(letter or other for letter in letters) for other in _LETTERS}


def _initial(char: str) -> str | None:
    """Return the initial; empty for a rare character, None for what is none."""
    if not "\u4e00" <= char <= "\u9fff":
        return None
    place = char.encode("gb2312", "ignore")
    if not _PLACES[0] <= place <= _LAST:
        return ""
    return _LETTERS[bisect.bisect_right(_PLACES, place) - 1]
