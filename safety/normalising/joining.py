"""Letters that stand one by one ('b o m b', 'b.o.m.b', '炸*弹*制') joined to words; lists and formulas are left alone.

A run is a chain of single letters with one to three separators between each two. It is joined when it is long enough
to be a word, of one script, not one letter over and over, and no formula ('a + b = c', '|P A|=|P B|'). Five or more
single Chinese characters may have punctuation between them, too ('忽。略。之。前', '【炸】【弹】【制】【作】【法】').
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safety.normalising.tables import DIGIT, LETTER, PUNCTUATION, SEPARATOR

Codes = NDArray[np.uint32]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

_LONGEST_GAP = 4
_SHORTEST_RUN = 4
_SHORTEST_HAN_RUN = 3
_SHORTEST_PUNCTUATED_RUN = 5
_HAN = (0x3400, 0xA000)
_LATIN_END = 0x250
_VOWELS = tuple(map(ord, "aeiouyAEIOUY"))
_NEXT_BUT_ONE = 2
_SPACES = tuple(map(ord, " \n\t"))
_OPERATORS = tuple(map(ord, "=+^|"))
_SIGNED_SHARE = 2 / 3
"""From this share of signs ('b.o.m.b m.a.k.e') the spaces of a run are what parts its words."""


class Join(NamedTuple):
    """What joining does to a text: code points with wide gaps made spaces, and which of them stay."""

    codes: Codes
    kept: Mask


class _Chain(NamedTuple):
    """Single letters in order; `linked[i]`, `gaps[i]`, `signed[i]` are about letters i and i + 1."""

    at: Counts
    linked: Mask
    gaps: Counts
    signed: Mask
    """Whether more than spaces stands between the two."""
    run: Counts
    """Number of the run that each letter belongs to."""
    signs: Codes
    """Every separator of every link that is no space."""
    sign_run: Counts
    """The run that each of `signs` stands in."""


def join_spaced(codes: Codes, flags: NDArray[np.uint16]) -> Join | None:
    """Join the runs; None when there is nothing to join."""
    at = np.flatnonzero(_alone(codes, flags))
    if len(at) < _SHORTEST_HAN_RUN:
        return None
    plain = _links(at, codes, flags, SEPARATOR)
    chain = _chain(at, codes, plain)
    joined = chain.linked & _words(chain, codes)[chain.run[:-1]]
    if (punctuated := _punctuated(at, codes, flags, plain)) is not None:
        chain = _chain(at, codes, plain | punctuated)
        long = np.bincount(chain.run) >= _SHORTEST_PUNCTUATED_RUN
        joined |= chain.linked & (long & _words(chain, codes))[chain.run[:-1]]
    return _join(chain, joined, codes) if joined.any() else None


def _alone(codes: Codes, flags: NDArray[np.uint16]) -> Mask:
    """Letters with no letter or digit beside them, and that end no word ('that's') and no escape."""
    word = (flags & (LETTER | DIGIT)) != 0
    alone = (flags & LETTER) != 0
    alone[1:] &= ~word[:-1]
    alone[:-1] &= ~word[1:]
    apostrophe = np.isin(codes, (ord("'"), ord("’")))
    alone[3:] &= ~(apostrophe[2:-1] & word[1:-2] & word[:-3])
    alone[1:] &= ~((codes[:-1] == ord("\\")) & np.isin(codes[1:], tuple(map(ord, "nrt"))))
    return np.asarray(alone, dtype=np.bool_)


def _links(at: Counts, codes: Codes, flags: NDArray[np.uint16], between: int) -> Mask:
    """Which neighbours are of one script and have nothing but one to three of `between` between them."""
    separators = np.concatenate(([0], np.cumsum((flags & between) != 0)))
    gaps = np.diff(at)
    linked = (gaps <= _LONGEST_GAP) & (separators[at[1:]] - separators[at[:-1] + 1] == gaps - 1)
    han = _is_han(codes[at])
    return np.asarray(linked & ~_says_i(at, codes, flags) & (han[:-1] == han[1:]), dtype=np.bool_)


def _punctuated(at: Counts, codes: Codes, flags: NDArray[np.uint16], plain: Mask) -> Mask | None:
    """Which Chinese neighbours have punctuation between them as well; None when there are none."""
    linked = _links(at, codes, flags, SEPARATOR | PUNCTUATION) & ~plain & _is_han(codes[at[:-1]])
    return linked if linked.any() else None


def _is_han(letters: Codes) -> Mask:
    return np.asarray((letters >= _HAN[0]) & (letters < _HAN[1]), dtype=np.bool_)


def _chain(at: Counts, codes: Codes, linked: Mask) -> _Chain:
    gaps = np.diff(at)
    run = np.concatenate(([0], np.cumsum(~linked)))
    signed, signs, sign_run = np.zeros(len(gaps), dtype=np.bool_), [], []
    for step in range(1, _LONGEST_GAP):
        link = np.flatnonzero(linked & (gaps > step))
        sign = codes[at[link] + step]
        is_sign = ~np.isin(sign, _SPACES)
        signed[link[is_sign]] = True
        signs.append(sign[is_sign])
        sign_run.append(run[link[is_sign]])
    return _Chain(at, linked, gaps, signed, run, np.concatenate(signs), np.concatenate(sign_run))


def _says_i(at: Counts, codes: Codes, flags: NDArray[np.uint16]) -> Mask:
    """Where an 'I' is a word of its own ('do I b u i l d') and not the beginning of the next ('I g n o r e')."""
    following = codes[at[1:]]
    lower = (following >= ord("a")) & (following <= ord("z")) & np.isin(codes[at[:-1] + 1], _SPACES)
    before = np.maximum(at[:-1] - 2, 0)
    word = (at[:-1] > 1) & ((flags[before] & LETTER) != 0) & np.isin(codes[np.maximum(at[:-1] - 1, 0)], _SPACES)
    return np.asarray((codes[at[:-1]] == ord("I")) & lower & word, dtype=np.bool_)


def _words(chain: _Chain, codes: Codes) -> Mask:
    """Which runs are words taken apart, rather than lists, tables or formulas."""
    letters, runs = codes[chain.at], int(chain.run[-1]) + 1
    size = np.bincount(chain.run, minlength=runs)
    least = np.where(
        np.bincount(chain.run, weights=_is_han(letters), minlength=runs) > 0, _SHORTEST_HAN_RUN, _SHORTEST_RUN
    )
    latin = np.bincount(chain.run, weights=letters < _LATIN_END, minlength=runs) > 0
    voiced = np.bincount(chain.run, weights=np.isin(letters, _VOWELS), minlength=runs) > 0
    steps = np.diff(letters.astype(np.int64))[chain.linked]
    listed = np.bincount(chain.run[:-1][chain.linked], weights=steps != 1, minlength=runs) == 0  # 'A B C D'
    varied = _differs(letters, chain.run, runs)
    words = (size >= least) & varied & (voiced | ~latin) & ~listed & ~_formulas(chain, runs)
    return np.asarray(words, dtype=np.bool_)


def _formulas(chain: _Chain, runs: int) -> Mask:
    """Find runs with an operator and another sign, or an operator and a bare space: 'a + b = c', 'a b + c d'."""
    operators = np.bincount(chain.sign_run, weights=np.isin(chain.signs, _OPERATORS), minlength=runs) > 0
    bare = np.bincount(chain.run[:-1], weights=chain.linked & ~chain.signed, minlength=runs) > 0
    barred = np.bincount(chain.run[:-1], weights=chain.linked & (chain.gaps > _NEXT_BUT_ONE), minlength=runs) > 0
    tables = barred & (np.bincount(chain.sign_run, weights=chain.signs == ord("|"), minlength=runs) > 0)
    formulas = operators & (bare | _differs(chain.signs, chain.sign_run, runs))
    return np.asarray(formulas | tables, dtype=np.bool_)


def _differs(values: Codes, run: Counts, runs: int) -> Mask:
    """Which runs hold two different values."""
    low, high = np.full(runs, np.iinfo(np.uint32).max, dtype=np.uint32), np.zeros(runs, dtype=np.uint32)
    np.minimum.at(low, run, values)
    np.maximum.at(high, run, values)
    return low < high


def _join(chain: _Chain, joined: Mask, codes: Codes) -> Join:
    """Drop what stands between the letters; a gap wider than the run's narrowest becomes one space, but in Chinese."""
    run, gaps, runs = chain.run[:-1], chain.gaps, int(chain.run[-1]) + 1
    narrow = np.full(runs, _LONGEST_GAP)
    np.minimum.at(narrow, run[joined], gaps[joined])
    links = np.maximum(np.bincount(run, weights=joined, minlength=runs), 1)
    signed = np.bincount(run, weights=joined & chain.signed, minlength=runs) >= _SIGNED_SHARE * links
    wide = ((gaps > narrow[run]) | (signed[run] & ~chain.signed)) & ~_is_han(codes[chain.at[:-1]])
    out, kept = codes.copy(), np.ones(len(codes), dtype=np.bool_)
    out[chain.at[:-1][joined & wide] + 1] = ord(" ")
    for step in range(1, _LONGEST_GAP):
        kept[chain.at[:-1][joined & (gaps > step) & ~(wide & (step == 1))] + step] = False
    return Join(out, kept)
