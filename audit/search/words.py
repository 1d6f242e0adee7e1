"""What counts as a word in a search, so that SQL finds what Elasticsearch finds. Pure.

Follows the analyser `standard`: words by Unicode's UAX #29 as Lucene's StandardTokenizer cuts them (Unicode 12), lower
case, every Chinese character and every Hiragana a word of its own. A searched text is a phrase: its words must stand
one after another in one text. So any Chinese string is found, and whole words of other scripts; what stands between
words does not matter. A contract test holds this against a real server.
"""

import re
import unicodedata

LONGEST_WORD = 255
"""Longer words are cut, as the analyser does."""

_MID_LETTER = ":\u00b7\u0387\u05f4\u2027\ufe13\ufe55\uff1a"
_MID_NUMBER = ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"
_MID_BOTH = ".'\u2018\u2019\u2024\ufe52\uff07\uff0e"
_RANGES = (
    # Hiragana, Chinese: each character alone
    (
        "I",
        (
            *((0x3041, 0x3096), (0x309D, 0x309F), (0x1B001, 0x1B11E), (0x1F200, 0x1F200)),
            *((0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3007, 0x3007)),
            *((0x3021, 0x3029), (0x3038, 0x303A), (0x3400, 0x4DB5), (0x4E00, 0x9FEF), (0xF900, 0xFA6D)),
            *((0xFA70, 0xFAD9), (0x20000, 0x2A6D6), (0x2A700, 0x2B734), (0x2B740, 0x2B81D), (0x2B820, 0x2CEA1)),
            *((0x2CEB0, 0x2EBE0), (0x2F800, 0x2FA1D)),
        ),
    ),
    # Runs of Katakana
    (
        "K",
        (
            *((0x3031, 0x3035), (0x309B, 0x309C), (0x30A0, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF)),
            *((0x32D0, 0x32FE), (0x3300, 0x3357), (0xFF66, 0xFF9D), (0x1B000, 0x1B000)),
        ),
    ),
    # Scripts without spaces (Thai, Lao, Myanmar, Khmer, Tai): runs
    (
        "S",
        (
            *((0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E80, 0x0ECF), (0x0EDC, 0x0EDF), (0x1000, 0x103F)),
            *((0x1050, 0x108F), (0x109A, 0x109F), (0x1780, 0x17D3), (0x17D7, 0x17D7), (0x17DC, 0x17DD)),
            *((0x1950, 0x1974), (0x1980, 0x19C9), (0x19DA, 0x19DF), (0x1A20, 0x1A5E), (0x1A60, 0x1A7C)),
            *((0x1AA0, 0x1AAD), (0xA9E0, 0xA9EF), (0xA9FA, 0xA9FE), (0xAA60, 0xAAC2), (0xAADB, 0xAADF)),
        ),
    ),
    # Emoji: one word each
    (
        "J",
        (
            *((0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2194, 0x2199)),
            *((0x21A9, 0x21AA), (0x231A, 0x231B), (0x2328, 0x2328), (0x2388, 0x2388), (0x23E9, 0x23F3)),
            *((0x23F8, 0x23FA), (0x25AA, 0x25AB), (0x25B6, 0x25B6), (0x25C0, 0x25C0), (0x25FB, 0x25FE)),
            *((0x2600, 0x2605), (0x2607, 0x2612), (0x2614, 0x2685), (0x2690, 0x2705), (0x2708, 0x2712)),
            *((0x2714, 0x2714), (0x2716, 0x2716), (0x271D, 0x271D), (0x2721, 0x2721), (0x2728, 0x2728)),
            *((0x2733, 0x2734), (0x2744, 0x2744), (0x2747, 0x2747), (0x274C, 0x274C), (0x274E, 0x274E)),
            *((0x2753, 0x2755), (0x2757, 0x2757), (0x2763, 0x2767), (0x2795, 0x2797), (0x27A1, 0x27A1)),
            *((0x27B0, 0x27B0), (0x27BF, 0x27BF), (0x2934, 0x2935), (0x2B05, 0x2B07), (0x2B1B, 0x2B1C)),
            *((0x2B50, 0x2B50), (0x2B55, 0x2B55), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3297)),
            *((0x3299, 0x3299), (0x1F300, 0x1F3FA), (0x1F400, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1FAFF)),
        ),
    ),
    # Signs that count as letters
    (
        "A",
        (
            (0x2C2, 0x2C5),
            (0x2D2, 0x2D7),
            (0x2DE, 0x2DF),
            (0x2ED, 0x2ED),
            (0x55B, 0x55C),
            (0x55E, 0x55E),
            (0x5F3, 0x5F3),
        ),
    ),
    ("N", ((0x66B, 0x66B),)),
    ("E", ((0x202F, 0x202F),)),
    (" ", ((0x3006, 0x3006),)),
)
_MARKS = {"S": "Y"}
"""Marks of scripts without spaces go with what stands before them, and are words where nothing does."""
_RUN = r"(?:A[XY]*+(?:[mb][XY]*+(?=A))?|N[XY]*+(?:[cb][XY]*+(?=N))?)++"
_JOINED = rf"(?:{_RUN}|(?:K[XY]*+)++)"
_JOINERS = r"(?:E[XY]*+)"
_WORD = re.compile(
    rf"{_JOINERS}*+{_JOINED}(?:{_JOINERS}++{_JOINED})*+{_JOINERS}*+|[SY][SXY]*+|[IJ][XY]*+|(?P<none>{_JOINERS}++)"
)
"""Rules WB4 to WB13b over classes; possessive, so that no text takes more than linear time. Joiners alone are none."""
_LONG_S_WITH_DOT = 0x130


class _Classes(dict[int, str]):
    """Character → the letter that stands for it in `_WORD`; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        found = self[code] = _class_of(chr(code))
        return found


class _Lower(dict[int, int]):
    """Character → its lower case, one character for one."""

    def __missing__(self, code: int) -> int:
        lower = chr(code).lower()
        found = self[code] = ord("i") if code == _LONG_S_WITH_DOT else ord(lower) if len(lower) == 1 else code
        return found


def _class_of(char: str) -> str:
    code, category = ord(char), unicodedata.category(char)
    for group, letter in ((_MID_LETTER, "m"), (_MID_NUMBER, "c"), (_MID_BOTH, "b")):
        if char in group:
            return letter
    mark = category in {"Mn", "Me", "Mc"} or (category == "Cf" and code != 0x200B) or 0xFF9E <= code <= 0xFF9F  # noqa: PLR2004
    for letter, ranges in _RANGES:
        if any(first <= code <= last for first, last in ranges):
            return letter if not mark else _MARKS.get(letter, "X")
    if mark:
        return "X"
    if category == "Pc":
        return "E"
    if category == "Nd":
        return "N"
    letters = category in {"Lu", "Ll", "Lt", "Lm", "Lo", "Nl"} or 0x24B6 <= code <= 0x24E9  # noqa: PLR2004 - Ⓐ
    return "A" if letters else " "


class Words:
    """Cuts texts into words. Remembers the characters it met; safe across threads."""

    def __init__(self) -> None:
        self._classes = _Classes()
        self._lower = _Lower()

    def of(self, text: str) -> list[str]:
        """Return the words of a text, in order."""
        lower = text.translate(self._lower)
        found = []
        for match in _WORD.finditer(text.translate(self._classes)):
            if match["none"]:
                continue
            start, end = match.span()
            found += [lower[at : min(at + LONGEST_WORD, end)] for at in range(start, end, LONGEST_WORD)]
        return found

    def lower(self, text: str) -> str:
        """Return a text in the lower case that words have."""
        return text.translate(self._lower)


def words_of(text: str) -> list[str]:
    """Return the words of one text."""
    return Words().of(text)


class Phrase:
    """A searched text: holds in a text whose words have its words one after another."""

    def __init__(self, text: str) -> None:
        self._words = Words()
        self.wanted = self._words.of(text)

    def stands_in(self, text: str) -> bool:
        """Whether a text holds the phrase."""
        lower = self._words.lower(text)
        if not self.wanted or not all(word in lower for word in set(self.wanted)):
            return False  # most texts end here, at the speed of a substring search
        found, size = self._words.of(text), len(self.wanted)
        first = self.wanted[0]
        return any(found[at : at + size] == self.wanted for at in range(len(found) - size + 1) if found[at] == first)
