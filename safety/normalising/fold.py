"""Reading disguised characters plainly, on whole arrays of code points, with offsets; linear time throughout."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from safety.normalising.emphasis import emphasis_signs
from safety.normalising.joining import join_spaced
from safety.normalising.tables import (
    APART,
    DIGIT,
    FOREIGN,
    INVISIBLE,
    LATIN,
    LETTER,
    LOOKALIKE,
    MARK,
    ODD,
    Tables,
    tables,
)
from safety.normalising.text import Offsets

Codes = NDArray[np.uint32]
Mask = NDArray[np.bool_]

_MARKS_PER_LETTER = 3
_GREEK = (0x370, 0x400)
_SIGN, _PLAIN = 1, 2
_WHOLE_NUMBER = 10
"""From so many characters on each side a digit sign parts two numbers; it is a disguised digit of one before."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Code points and, for each, the span [start, end) of the original that it was read from."""

    codes: Codes
    starts: Offsets
    ends: Offsets
    changes: frozenset[str]

    @property
    def text(self) -> str:
        """The reading as a string."""
        return self.codes.astype("<u4").tobytes().decode("utf-32-le")

    def keep(self, mask: Mask) -> "Reading":
        """Drop the code points outside `mask`."""
        return replace(self, codes=self.codes[mask], starts=self.starts[mask], ends=self.ends[mask])

    def changed(self, codes: Codes, kind: str) -> "Reading":
        """Replace code points one by one; `kind` is noted when any differs."""
        if np.array_equal(codes, self.codes):
            return self
        return replace(self, codes=codes, changes=self.changes | {kind})


def fold(text: str) -> Reading:
    """Read `text` without its disguises; see the functions below for each step."""
    table = tables()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
    places = np.arange(len(codes) + 1, dtype=np.int32)
    reading = Reading(codes, places[:-1], places[1:], frozenset())
    steps = (_drop_invisible, _set_apart, _spell_out, _compose, _drop_emphasis, _join_spaced, _unmask, _simplify)
    for step in steps:
        reading = step(reading, table)
    return reading


def _drop_invisible(reading: Reading, table: Tables) -> Reading:
    """Zero-width, bidi, tag and control characters, variation selectors, fillers."""
    visible = (table.flags[reading.codes] & INVISIBLE) == 0
    if visible.all():
        return reading
    return replace(reading.keep(visible), changes=reading.changes | {"invisible"})


def _set_apart(reading: Reading, table: Tables) -> Reading:
    """Put a space between signs that are numbers or words of their own (①, ², №) and the number or word beside them.

    Signs alone spell a number (①③⑧), and so do signs of one digit inside a number (4①11): both stay as they are.
    """
    signs = (table.flags[reading.codes] & APART) != 0
    if not signs.any():
        return reading
    folded = table.flags[table.single.of(reading.codes)]
    kind = np.where(signs, _SIGN, np.where((folded & (LATIN | DIGIT)) != 0, _PLAIN, 0))
    starts = np.flatnonzero(np.diff(kind, prepend=-1))
    sizes = np.diff(starts, append=len(kind))
    kinds, size = np.pad(kind[starts], 1), np.pad(sizes, 1)
    sign = kinds[1:-1] == _SIGN
    left, right = sign & (kinds[:-2] == _PLAIN), sign & (kinds[2:] == _PLAIN)
    digits = np.logical_and.reduceat((folded & DIGIT) != 0, starts)
    inside = left & right & digits & (np.minimum(size[:-2], size[2:]) < _WHOLE_NUMBER)
    before, after = starts[left & ~inside], (starts + sizes)[right & ~inside]
    at, owner = np.concatenate((before, after)), np.concatenate((before, after - 1))
    return replace(
        reading,
        codes=np.insert(reading.codes, at, ord(" ")),
        starts=np.insert(reading.starts, at, reading.starts[owner]),
        ends=np.insert(reading.ends, at, reading.ends[owner]),
    )


def _spell_out(reading: Reading, table: Tables) -> Reading:
    """Compatibility forms (NFKC of each code point): full-width, mathematical, circled, ligatures, lone surrogates."""
    codes = reading.codes
    lengths = table.expansion_length[codes]
    if not (lengths != 1).any():
        return reading.changed(table.single.of(codes), "forms")
    origin = np.repeat(np.arange(len(codes)), lengths)
    first = np.cumsum(lengths, dtype=np.int64) - lengths
    within = np.arange(len(origin)) - first[origin]
    long = lengths[origin] != 1
    spelled = table.single.of(codes)[origin]
    spelled[long] = table.expansions[table.expansion_at[codes[origin[long]]] + within[long]]
    return Reading(spelled, reading.starts[origin], reading.ends[origin], reading.changes | {"forms"})


def _compose(reading: Reading, table: Tables) -> Reading:
    """Join a letter and its mark where Unicode has one character for both; drop the marks that are left over."""
    for _ in range(_MARKS_PER_LETTER):
        marks = (table.flags[reading.codes] & MARK) != 0
        if not marks.any():
            return reading
        at = np.flatnonzero(marks[1:])
        key = (reading.codes[at].astype(np.uint64) << np.uint64(32)) | reading.codes[at + 1]
        found = np.minimum(np.searchsorted(table.pairs, key), len(table.pairs) - 1)
        hit = table.pairs[found] == key
        if not hit.any():
            break
        at, found = at[hit], found[hit]
        codes, ends = reading.codes.copy(), reading.ends.copy()
        codes[at], ends[at] = table.composed[found], reading.ends[at + 1]
        kept = np.ones(len(codes), dtype=np.bool_)
        kept[at + 1] = False
        reading = replace(reading, codes=codes, ends=ends, changes=reading.changes | {"forms"}).keep(kept)
    return _drop_marks(reading, table)


def _drop_marks(reading: Reading, table: Tables) -> Reading:
    marks = (table.flags[reading.codes] & MARK) != 0
    if not marks.any():
        return reading
    owner = np.cumsum(~marks) - 1
    lost = np.flatnonzero(marks & (owner >= 0))
    ends = reading.ends[~marks].copy()
    np.maximum.at(ends, owner[lost], reading.ends[lost])
    kept = reading.keep(~marks)
    return replace(kept, ends=ends, changes=reading.changes | {"marks"})


def _drop_emphasis(reading: Reading, table: Tables) -> Reading:
    """Signs of emphasis within a word (see `emphasis`)."""
    del table
    if not (reading.codes == ord("*")).any():
        return reading
    kept = np.ones(len(reading.codes), dtype=np.bool_)
    for start, end in emphasis_signs(reading.text):
        kept[start:end] = False
    return reading if kept.all() else replace(reading.keep(kept), changes=reading.changes | {"emphasis"})


def _join_spaced(reading: Reading, table: Tables) -> Reading:
    """Join letters that stand one by one (see `joining`)."""
    join = join_spaced(reading.codes, table.flags[reading.codes])
    if join is None:
        return reading
    return replace(reading, codes=join.codes, changes=reading.changes | {"joined"}).keep(join.kept)


def _unmask(reading: Reading, table: Tables) -> Reading:
    """Read look-alike letters as Latin in words that no language writes so; leave real Russian and Greek words.

    A word is dressed up when it mixes Latin with look-alikes, when it has a letter that no everyday alphabet has, or
    when all its letters are look-alikes in a text that is otherwise Latin.
    """
    flags = table.flags[reading.codes]
    if not (flags & LOOKALIKE).any():
        return reading
    letters = (flags & LETTER) != 0
    starts = np.flatnonzero(np.diff(np.concatenate(([-1], letters.astype(np.int8)))))
    word = np.cumsum(np.isin(np.arange(len(flags)), starts)) - 1
    has = np.bitwise_or.reduceat(flags, starts)
    foreign = (has & FOREIGN) != 0
    latin_text = bool((flags & LATIN).any()) and not bool((flags & FOREIGN).any())
    symbol = (np.bincount(word[letters], minlength=len(starts)) == 1) & _greek(reading.codes[starts])
    dressed = ((has & LATIN) != 0) | (((has & ODD) != 0) & ~foreign) | (latin_text & ~symbol)
    return reading.changed(np.where(dressed[word], table.latin.of(reading.codes), reading.codes), "lookalikes")


def _greek(codes: Codes) -> Mask:
    """Greek letters: alone they are symbols ('α-keratin', 'γ-GT')."""
    return (codes >= _GREEK[0]) & (codes < _GREEK[1])


def _simplify(reading: Reading, table: Tables) -> Reading:
    """Traditional Chinese characters as simplified ones, one by one."""
    return reading.changed(table.simplified.of(reading.codes), "forms")
