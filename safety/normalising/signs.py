"""Signs of one digit at an end of a number: a note or a list's number beside it (002X¹), or its digit (1380013800①).

`_set_apart` in `fold` reads them as the first, here is the second. Which one it is, check sums and lengths decide.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safety.normalising.tables import APART, DIGIT, tables

Places = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Joined:
    """A reading without some of the spaces that set signs apart."""

    text: str
    places: Places
    """Where each code point of `text` stands in the reading that has those spaces."""

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Map a span, which is not empty, to the reading with the spaces; None where it holds none of them."""
        first, last = int(self.places[start]), int(self.places[end - 1])
        return (first, last + 1) if last - first >= end - start else None


def joined_readings(original: str, text: str, starts: Places) -> tuple[Joined, ...]:
    """Join signs to the numbers before them, to those behind them, and to both; only readings that differ."""
    codes = _codes(text)
    spaces = np.flatnonzero(codes == ord(" "))
    spaces = spaces[(spaces > 0) & (spaces < len(codes) - 1)]
    if not len(spaces):
        return ()
    table = tables()
    typed = _codes(original)[starts[spaces]]
    sign = ((table.flags[typed] & APART) != 0) & ((table.flags[table.single.of(typed)] & DIGIT) != 0)
    spaces = spaces[sign]
    digits = (table.flags[codes] & DIGIT) != 0
    # A space that was put in leads back to its sign, which stands on one of its sides.
    behind = digits[spaces - 1] & (starts[spaces] == starts[spaces + 1])
    before = digits[spaces + 1] & (starts[spaces] == starts[spaces - 1])
    found = {tuple(spaces[kind].tolist()): None for kind in (behind, before, behind | before)}
    return tuple(_without(codes, list(dropped)) for dropped in found if dropped)


def _without(codes: NDArray[np.uint32], dropped: list[int]) -> Joined:
    kept = np.ones(len(codes), dtype=np.bool_)
    kept[dropped] = False
    text = codes[kept].astype("<u4").tobytes().decode("utf-32-le")
    return Joined(text, np.flatnonzero(kept).astype(np.int32))


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
