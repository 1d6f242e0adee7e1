"""Tables over all code points, made once from Python's own Unicode data and OpenCC's character list."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from safety.normalising.lookalikes import CYRILLIC, GREEK, RARE, SIGNS

SIZE = 0x110000
_LAST_DECOMPOSED = 0x32000
_LONGEST_EXPANSION = 6

INVISIBLE, MARK, LETTER, DIGIT, SEPARATOR, LATIN, LOOKALIKE, FOREIGN, ODD, PUNCTUATION, APART = (
    1 << n for n in range(11)
)

_MARK_RANGES = ((0x300, 0x370), (0x483, 0x48A), (0x1AB0, 0x1B00), (0x1DC0, 0x1E00), (0x20D0, 0x2100), (0xFE20, 0xFE30))
_INVISIBLE_RANGES = ((0x180B, 0x180F), (0xFE00, 0xFE10), (0xE0000, 0xE1000))
_INVISIBLE = (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)
_LINE_ENDS = (0x0B, 0x0C, 0x85, 0x2028, 0x2029)
SEPARATORS = " \n\t.*-‐‒–―_·‧・•|/\\~^+=`'‘’\"#:"
"""What parts letters that stand one by one, beside emoji."""
PUNCTUATION_SIGNS = ",;:!?()[]{}<>¥$%&@。〈〉《》「」『』【】〔〕〖〗…—"
"""What parts letters only in a long row of single Chinese characters. Not the mark between a list's items (柴、米)."""
_EMOJI_RANGES = ((0x2190, 0x2300), (0x2460, 0x27C0), (0x2B00, 0x2C00), (0x1F000, 0x1FB00))
_WORD_SIGNS = "№℡℻™℠"
# Compatibility forms that ordinary text is full of, and that say nothing new when they are spelled out.
_LEFT_ALONE = frozenset("…‥")


class Substitution:
    """One code point for another; most stay what they are.

    What is kept is how far each code point moves (modulo 2**32): zeros that nobody wrote take no memory, while three
    tables of code points took 13 MB.
    """

    def __init__(self, replaced: Mapping[int, int]) -> None:
        """Take those that change, and what they become."""
        self._moves: NDArray[np.uint32] = np.zeros(SIZE, dtype=np.uint32)
        for code, other in replaced.items():
            self._moves[code] = (other - code) % (1 << 32)

    def of(self, codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return what each of `codes` is read as."""
        return codes + self._moves[codes]

    def changing(self) -> NDArray[np.uint32]:
        """Return those that change, rising."""
        return np.flatnonzero(self._moves).astype(np.uint32)


@dataclass(frozen=True, eq=False)
class Tables:
    """What the normaliser asks about a code point. Arrays have one place per code point."""

    flags: NDArray[np.uint16]
    single: Substitution
    """Compatibility forms and line ends."""
    expansion_length: NDArray[np.uint8]
    """Code points that one code point becomes: 1 for most."""
    expansion_at: NDArray[np.int32]
    expansions: NDArray[np.uint32]
    latin: Substitution
    """Look-alikes as the Latin letters that they stand for."""
    simplified: Substitution
    pairs: NDArray[np.uint64]
    """Sorted `base << 32 | mark` of every canonical composition with a general combining mark."""
    composed: NDArray[np.uint32]
    """What each of `pairs` composes to."""
    translation: dict[int, int]
    """`single` and `simplified` together, for `str.translate`."""
    structural: re.Pattern[str]
    """Finds a code point that needs more than `translation`."""


@cache
def tables() -> Tables:
    """Make the tables (about 0.1 s); the first call of a process pays."""
    flags = _flags()
    single, length, at, data = _compatibility()
    simplified = _simplified()
    latin = {ord(c): ord(letter) for table in (CYRILLIC, GREEK, RARE) for c, letter in table.items()}
    pairs, composed = _compositions(flags)
    either = np.union1d(single.changing(), simplified.changing())
    return Tables(
        flags=flags,
        single=single,
        expansion_length=length,
        expansion_at=at,
        expansions=data,
        latin=Substitution(latin),
        simplified=simplified,
        pairs=pairs,
        composed=composed,
        translation=dict(zip(either.tolist(), simplified.of(single.of(either)).tolist(), strict=True)),
        structural=_class_of(((flags & (INVISIBLE | MARK | LOOKALIKE | ODD | APART)) != 0) | (length != 1)),
    )


def _flags() -> NDArray[np.uint16]:
    flags = np.zeros(SIZE, dtype=np.uint16)
    kinds = [unicodedata.category(chr(c)) for c in range(_LAST_DECOMPOSED)]
    flags[[c for c, kind in enumerate(kinds) if kind[0] == "L"]] |= LETTER
    flags[[c for c, kind in enumerate(kinds) if kind == "Nd"]] |= DIGIT
    flags[[c for c, kind in enumerate(kinds) if kind in ("Cf", "Cc")]] |= INVISIBLE
    flags[[*map(ord, "\t\n\r"), *_LINE_ENDS]] = 0
    for first, last in _INVISIBLE_RANGES:
        flags[first:last] = INVISIBLE
    flags[list(_INVISIBLE)] = INVISIBLE
    for first, last in _MARK_RANGES:
        flags[first:last] = MARK
    flags[[c for c in range(_LAST_DECOMPOSED) if 0x40 < c < 0x250 and kinds[c][0] == "L"]] |= LATIN  # noqa: PLR2004 - Basic Latin to Latin Extended-B
    for first, last in _EMOJI_RANGES:
        flags[first:last] |= SEPARATOR
    flags[[ord(c) for c in SEPARATORS]] |= SEPARATOR
    flags[[ord(c) for c in PUNCTUATION_SIGNS]] |= PUNCTUATION
    flags[[ord(c) for c in SIGNS]] = LETTER
    flags[[c for c in (*range(0x370, 0x530),) if kinds[c][0] == "L"]] |= FOREIGN
    for table in (CYRILLIC, GREEK):
        flags[[ord(c) for c in table]] = LETTER | LOOKALIKE
    flags[[ord(c) for c in RARE]] = LETTER | LOOKALIKE | ODD
    flags[0xD800:0xE000] = ODD
    flags[[c for c in range(0x80, _LAST_DECOMPOSED) if _stands_apart(chr(c), kinds[c])]] |= APART
    return flags


def _stands_apart(char: str, kind: str) -> bool:
    """Whether a sign is a number or a word of its own (①, ², ⒈, ㏠, №), and no digit (１) nor part of a formula (₂)."""
    if kind == "Nd" or not (parts := unicodedata.decomposition(char)) or parts.startswith("<sub>"):
        return char in _WORD_SIGNS
    folded = unicodedata.normalize("NFKC", char)
    return char in _WORD_SIGNS or folded[0].isdecimal() or folded[-1].isdecimal()


def _compatibility() -> tuple[Substitution, NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint32]]:
    single: dict[int, int] = {}
    length = np.ones(SIZE, dtype=np.uint8)
    at = np.zeros(SIZE, dtype=np.int32)
    data: list[int] = []
    for code in range(0x80, _LAST_DECOMPOSED):
        if not unicodedata.decomposition(char := chr(code)) or char in _LEFT_ALONE:
            continue
        if char in SIGNS:
            continue  # below: parenthesised letters would become three characters
        folded = unicodedata.normalize("NFKC", char)
        if len(folded) == 1:
            single[code] = ord(folded)
        elif len(folded) <= _LONGEST_EXPANSION and folded[0] != " ":
            length[code], at[code] = len(folded), len(data)
            data += map(ord, folded)
    single |= dict.fromkeys(_LINE_ENDS, ord("\n"))
    single |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
    single |= {ord(c): ord(form) for c, form in SIGNS.items()}
    return Substitution(single), length, at, np.array(data, dtype=np.uint32)


def _simplified() -> Substitution:
    simplified: dict[int, int] = {}
    lines = (files("opencc") / "dictionary" / "TSCharacters.txt").read_text("utf-8").splitlines()
    for line in lines:
        traditional, _, candidates = line.partition("\t")
        first = candidates.split(" ")[0]
        if len(traditional) == len(first) == 1:
            simplified[ord(traditional)] = ord(first)
    return Substitution(simplified)


def _compositions(flags: NDArray[np.uint16]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    found: dict[int, int] = {}
    for code in range(0xC0, 0x3000):
        parts = unicodedata.normalize("NFD", chr(code))
        if len(parts) < 2 or not flags[ord(parts[-1])] & MARK:  # noqa: PLR2004 - a base and a mark
            continue
        base = unicodedata.normalize("NFC", parts[:-1])
        if len(base) == 1 and unicodedata.normalize("NFC", parts) == chr(code):
            found[ord(base) << 32 | ord(parts[-1])] = code
    keys = sorted(found)
    return np.array(keys, dtype=np.uint64), np.array([found[key] for key in keys], dtype=np.uint32)


def _class_of(members: NDArray[np.bool_]) -> re.Pattern[str]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], members, [False])).astype(np.int8)))
    ranges = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return re.compile("[" + "".join(f"\\U{first:08x}-\\U{last - 1:08x}" for first, last in ranges) + "]")
