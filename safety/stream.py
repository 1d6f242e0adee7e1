"""Holding back a streamed answer until whole sentences can be examined: pure, synchronous, no clock of its own choice.

`push` takes text as it comes and gives back stretches that are ready; each carries the text before it as overlap, so
that a phrase that spans two stretches is examined whole. What the stretches are depends on the text alone, never on how
it was cut into chunks; only `overdue` looks at the time, for a model that stalls in the middle of a sentence.

A token (a key, a signed web token, an address: letters, digits and the signs between them) is recognised by its whole
alone, so it is held until it ends, far beyond the length of a stretch.
"""

import re
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from safety.ports import Direction, TurnContext
from safety.verdict import Decision

MAX_CHARACTERS: Final = 240
OVERLAP: Final = 120
BEFORE: Final = 2_000
"""Code points before the overlap in which checks look for what a number is: the head of its column, a word above it."""
LONGEST_TOKEN: Final = 4096
"""Web tokens of directories that name a person's groups have up to about 4,000 characters."""
MAX_WAIT_S: Final = 2.0

_CLOSERS = "”’」』）》】\"')]}*_`"
# A cut is only certain when what follows the mark is known: 'e.g.' and '3.14' look like ends until the next character.
# Possessive: what may follow begins with none of the signs before it, and a row of marks ('。。。') that has no end yet
# would be read in every way to part it, with every new character.
_END: Final = re.compile(
    rf"(?:[。！？；]++|……++)[{re.escape(_CLOSERS)}。！？；…]*+\s*+(?=[^\s{re.escape(_CLOSERS)}。！？；…])"
    rf"|[.!?]++[{re.escape(_CLOSERS)}]*+\s++(?=\S)"
    r"|\n\s*+(?=\S)"
)
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[A-Za-z]|[A-Za-z](?:\.[A-Za-z])+|e\.?g|i\.?e|etc|vs|cf|ca|approx|incl|excl|resp|Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St"
    r"|No|Nr|Fig|Figs|Eq|Sec|Ch|Vol|pp|ed|eds|al|Inc|Ltd|Co|Corp|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)$|(?:^|\n)\s*\d{1,3}$"
)
_LONGEST_ABBREVIATION: Final = 12
_TOKEN_SIGNS: Final = string.ascii_letters + string.digits + "-_.+/=~:"
_TOKEN: Final = re.compile(rf"[{re.escape(_TOKEN_SIGNS)}]*")
_GROUP_BEGINNINGS: Final = string.ascii_uppercase + "("
_GROUP_ENDS: Final = frozenset(string.ascii_uppercase + ")）")
_SOFT_ENDS: Final = "，、；：。！？）」』》”,;"


@dataclass(frozen=True)
class Stretch:
    """A piece of the answer that is ready to be examined, with what was handed out just before it."""

    text: str
    overlap: str
    said: str = field(default="", compare=False, repr=False)
    """What it was cut from, and some of what was handed out before: one text for many stretches."""
    begins: int = field(default=0, compare=False)
    """Where the overlap begins in `said`."""

    @property
    def before(self) -> str:
        """What was handed out before the overlap: its last `BEFORE` code points."""
        return self.said[max(0, self.begins - BEFORE) : self.begins]

    @property
    def whole(self) -> str:
        """What is examined: the overlap and the new text."""
        return self.overlap + self.text

    def context(self, groups: tuple[str, ...] = ()) -> TurnContext:
        """Return what guards may know besides `whole`: the same wherever an answer is judged."""
        return TurnContext(Direction.OUTPUT, groups, overlap=len(self.overlap), before=self.before)


class StreamWindow:
    """Cuts a growing answer into stretches; `clock` gives monotonic seconds and is read only for `overdue`."""

    def __init__(
        self,
        *,
        max_characters: int = MAX_CHARACTERS,
        overlap: int = OVERLAP,
        longest_token: int = LONGEST_TOKEN,
        max_wait_s: float = MAX_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bounds count code points; a stretch has up to `max_characters`, a token alone up to `longest_token`."""
        self._most = max_characters
        self._overlap_size = overlap
        self._longest_token = longest_token
        self._wait = max_wait_s
        self._clock = clock
        self._held = ""
        self._before = ""
        self._said = ""
        self._since: float | None = None

    @property
    def held(self) -> str:
        """Text that was pushed and not handed out yet."""
        return self._held

    def push(self, delta: str) -> list[Stretch]:
        """Take more of the answer; return the stretches that are complete now."""
        if delta and self._since is None:
            self._since = self._clock()
        text = self._held + delta
        cuts: list[int] = []
        while (cut := self._next_cut(text, cuts[-1] if cuts else 0)) is not None:
            cuts.append(cut)
        return self._cut(text, cuts)

    def flush(self) -> list[Stretch]:
        """Hand out what is left, at the end of the answer."""
        return self._cut(self._held, [len(self._held)] if self._held else [])

    def due(self, now: float) -> bool:
        """Whether something has been held for longer than the maximum wait, at monotonic time `now`."""
        return self._since is not None and bool(self._held) and now - self._since >= self._wait

    def overdue(self) -> list[Stretch]:
        """Hand out what has waited too long, up to the last break between words: the word being said stays.

        It is examined like any other stretch, and again as the overlap of what follows.
        """
        if not self.due(self._clock()):
            return []
        cut = _last_break(self._held, 0, len(self._held))
        return self._cut(self._held, [cut] if cut else [])

    def _next_cut(self, text: str, at: int) -> int | None:
        """Return where the stretch that begins at `at` ends, or None while its end may still lie ahead."""
        limit = at + self._most
        most = at + self._longest_token
        if (token := _TOKEN.match(text, at, most + 1)) and token.end() > limit:  # neither an end nor a break is in it
            return None if token.end() == len(text) <= most else min(token.end(), most)
        # One code point past the limit is looked at, so that an end that needs to see what follows is found there too.
        for end in _END.finditer(text, at, limit + 1):
            if not _is_abbreviation(text[at : end.start() + 1]):
                return end.end()
        return (_last_break(text, at, limit) or _token_start(text, at, limit)) if len(text) > limit else None

    def _cut(self, text: str, ends: list[int]) -> list[Stretch]:
        """Hand out a stretch up to each of `ends`; hold what is left of `text`."""
        if not ends:
            self._held = text
            return []
        said, shift = self._said + text[: ends[-1]], len(self._said)
        stretches = [self._stretch(text[at:end], said, shift + at) for at, end in pairwise([0, *ends])]
        self._said = said[-BEFORE - len(self._before) :]
        self._held = text[ends[-1] :]
        self._since = self._clock() if self._held else None
        return stretches

    def _stretch(self, text: str, said: str, at: int) -> Stretch:
        stretch = Stretch(text, self._before, said, at - len(self._before))
        # A token that had to be cut stands whole before its rest, so that what it is shows there at the latest.
        cut = len(text) == self._longest_token > self._most
        size = max(self._overlap_size, len(text) if cut else 0)
        self._before = (self._before + text)[-size:] if size else ""
        return stretch


def _is_abbreviation(sentence: str) -> bool:
    """Whether the full stop that ends `sentence` belongs to a short form ('e.g.', 'Dr.', '1.')."""
    return sentence[-1] == "." and _ABBREVIATION.search(sentence[-_LONGEST_ABBREVIATION:-1]) is not None


def _last_break(text: str, start: int, limit: int) -> int:
    """Return the last place in (start, limit] that is inside no word, number or address; 0 when there is none."""
    return next((at for at in range(limit, start, -1) if _breaks(text, at)), 0)


def _token_start(text: str, start: int, limit: int) -> int:
    """Return where the token begins that a cut at `limit` would split; `limit` where it splits none."""
    before = text[start:limit].rstrip(_TOKEN_SIGNS)
    return start + len(before) if before and text[limit] in _TOKEN_SIGNS else limit


def _breaks(text: str, at: int) -> bool:
    """Whether a cut before `text[at]` ("": not known yet) splits nothing, no number in groups: '(212) 736-5000'."""
    before, after = text[at - 1], text[at : at + 1]
    if before.isspace():
        return not _same_number(text[max(0, at - 8) : at].rstrip()[-1:], after.strip())
    if (
        before in ",;"
    ):  # a password may have them inside: `"aB3,dE5;fG7x"`; what ends a cell of a list ends with a quote
        return after == '"' or not (after.isascii() and after.isprintable() and after != " ")
    if before in _SOFT_ENDS:
        return not (after.isdigit() and before == "）")
    return "\u3400" <= before <= "\u9fff" and not (after.isascii() and (after.isalnum() or after in "._@-"))


def _same_number(last: str, first: str) -> bool:
    """Whether what ends with `last` and what begins with `first` ("" when it is not known) may be groups of one number.

    Groups have digits or capitals ('GB29 NWBK 6016'); where neither is a digit, they are words in capitals.
    """
    if last.isdigit():
        return first.isdigit() or first in _GROUP_BEGINNINGS
    return (last in _GROUP_ENDS) and (first.isdigit() or not first)


def deliver(decision: Decision, stretch: Stretch) -> str:
    """Return what may be shown of a stretch whose `overlap + text` got this decision; empty when it is blocked.

    Redactions are cut into the new text only: what was released can no longer be changed.
    """
    if decision.blocked:
        return ""
    shift = len(stretch.overlap)
    out: list[str] = []
    at = shift
    whole = stretch.whole
    for cut in decision.redactions:
        if cut.end <= shift:
            continue
        out += [whole[at : max(cut.start, at)], cut.placeholder]
        at = cut.end
    return "".join([*out, whole[at:]])
