"""What the normaliser gives: the text as guards read it, and the way back to the characters that were typed."""

import re
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from safety.normalising.signs import Joined, joined_readings

Offsets = NDArray[np.int32]

_LEET = str.maketrans(
    {"0": "o", "1": "i", "2": "z", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g"}
    | {"@": "a", "$": "s", "!": "i", "|": "l", "+": "t", "€": "e", "£": "l"}
    | {"ø": "o", "ł": "l", "đ": "d", "ŧ": "t", "ħ": "h", "ƀ": "b"}  # letters of living alphabets: only here
)
_LEET_SIGN = re.compile(r"[A-Za-z][0-9@$!|+€£]|[0-9@$!|+€£][A-Za-z]|[øØłŁđĐŧŦħĦƀɃ]")


class Segment(msgspec.Struct, frozen=True):
    """A text that was hidden inside the original in some encoding, decoded and normalised."""

    kind: str
    """How it was hidden: `base64 | hex | url | html | escape | tags | selectors`."""
    text: str
    start: int
    """First code point, in the original text, of the encoded form."""
    end: int
    """One past the last code point, in the original text, of the encoded form."""
    depth: int = 1
    """How many layers were taken off."""


@dataclass(frozen=True, eq=False)
class NormalisedText:
    """One text in the form that guards read, with exact offsets back to the original.

    `text` never holds a lone surrogate or a NUL, so it can always be encoded.
    """

    original: str
    text: str
    segments: tuple[Segment, ...] = ()
    changes: tuple[str, ...] = ()
    """Kinds of change that were made, sorted; empty when `text is original`."""
    starts: Offsets | None = field(default=None, repr=False)
    """Original index of the first code point behind each code point of `text`; None when both have the same length."""
    ends: Offsets | None = field(default=None, repr=False)
    """One past the last original code point behind each code point of `text`."""

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Map the span [start, end) of `text` to the span of the original that it was read from.

        Spans are clipped to the text; an empty span stays empty.
        """
        length = len(self.text)
        start = min(max(start, 0), length)
        end = min(max(end, start), length)
        if self.starts is None or self.ends is None:
            return start, end
        if start == end:
            at = int(self.starts[start]) if start < length else len(self.original)
            return at, at
        return int(self.starts[start]), int(self.ends[start:end].max())

    @cached_property
    def utf8(self) -> bytes:
        """`text` in UTF-8, encoded once for all guards."""
        return self.text.encode("utf-8")

    @cached_property
    def lowered(self) -> str:
        """`text` in lower case, code point by code point: same offsets as `text`."""
        lowered = self.text.lower()
        if len(lowered) == len(self.text):
            return lowered
        return "".join(low if len(low := char.lower()) == 1 else char for char in self.text)

    @cached_property
    def leet(self) -> str:
        """A second reading for word lists: lower case, digits, signs and strokes read as letters; same offsets."""
        return self.lowered.translate(_LEET) if _LEET_SIGN.search(self.text) else self.lowered

    @cached_property
    def joined(self) -> tuple[Joined, ...]:
        """More readings for numbers: signs of one digit at their ends (1380013800①) are digits of them."""
        return () if self.starts is None else joined_readings(self.original, self.text, self.starts)

    def characters_before(self, positions: list[int]) -> list[int]:
        """Turn byte positions in `utf8` into code point positions in `text`; any order, linear in the text."""
        if len(self.utf8) == len(self.text):
            return positions
        return [int(n) for n in self._character_of_byte[positions]]

    @cached_property
    def _character_of_byte(self) -> Offsets:
        return _character_index(self.utf8)


def characters_at(raw: bytes, positions: list[int]) -> list[int]:
    """Turn byte positions in UTF-8 text into code point positions."""
    return [int(n) for n in _character_index(raw)[positions]]


def _character_index(raw: bytes) -> Offsets:
    index = np.zeros(len(raw) + 1, dtype=np.int32)
    np.cumsum((np.frombuffer(raw, dtype=np.uint8) & 0xC0) != 0x80, out=index[1:])  # noqa: PLR2004 - continuation bytes
    return index
