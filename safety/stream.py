"""Holding back a streamed answer until whole sentences can be examined: pure, synchronous, no clock of its own choice.

`push` takes text as it comes and gives back stretches that are ready; each carries the text before it as overlap, so
that a phrase that spans two stretches is examined whole. What the stretches are depends on the text alone, never on how
it was cut into chunks; only `overdue` looks at the time, for a model that stalls in the middle of a sentence.
"""

import re
import time
from collections.abc import Callable
from typing import Final

import msgspec

from safety.verdict import Decision

MAX_CHARACTERS: Final = 240
OVERLAP: Final = 120
MAX_WAIT_S: Final = 2.0

_HAN_END = "。！？；!?"
_CLOSERS = "”’」』）》】\"')]}*_`"
# A cut is only certain when what follows the mark is known: 'e.g.' and '3.14' look like ends until the next character.
_END: Final = re.compile(
    rf"(?:[。！？；]+|……+)[{re.escape(_CLOSERS)}。！？；…]*(?=[^{re.escape(_CLOSERS)}。！？；…])"
    rf"|[.!?]+[{re.escape(_CLOSERS)}]*[ \t]+(?=[^ \t])"
    r"|\n+(?=[^\n])"
)
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[A-Za-z]|[A-Za-z](?:\.[A-Za-z])+|e\.?g|i\.?e|etc|vs|cf|ca|approx|incl|excl|resp|Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St"
    r"|No|Nr|Fig|Figs|Eq|Sec|Ch|Vol|pp|ed|eds|al|Inc|Ltd|Co|Corp|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|\d{1,3})$"
)
_TOKEN_BREAK: Final = re.compile(r"[\s，、,;；:：。！？()（）「」『』《》“”]|(?<=[\u3400-\u9fff])(?=[\u3400-\u9fff])")
_GLUE: Final = re.compile(r"[\s\w+.@/:-]")


class Stretch(msgspec.Struct, frozen=True):
    """A piece of the answer that is ready to be examined, with what was handed out just before it."""

    text: str
    overlap: str


class StreamWindow:
    """Cuts a growing answer into stretches; `clock` gives monotonic seconds and is read only for `overdue`."""

    def __init__(
        self,
        *,
        max_characters: int = MAX_CHARACTERS,
        overlap: int = OVERLAP,
        max_wait_s: float = MAX_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bounds count code points; a stretch may have up to `max_characters`."""
        self._most = max_characters
        self._overlap_size = overlap
        self._wait = max_wait_s
        self._clock = clock
        self._held = ""
        self._searched = 0
        self._before = ""
        self._since: float | None = None

    @property
    def held(self) -> str:
        """Text that was pushed and not handed out yet."""
        return self._held

    def push(self, delta: str) -> list[Stretch]:
        """Take more of the answer; return the stretches that are complete now."""
        if delta and self._since is None:
            self._since = self._clock()
        self._held += delta
        stretches: list[Stretch] = []
        while (cut := self._next_cut()) is not None:
            stretches.append(self._hand_out(cut))
        return stretches

    def flush(self) -> list[Stretch]:
        """The answer has ended: hand out what is left."""
        return [self._hand_out(len(self._held))] if self._held else []

    def due(self, now: float) -> bool:
        """Whether something has been held for longer than the maximum wait, at monotonic time `now`."""
        return self._since is not None and bool(self._held) and now - self._since >= self._wait

    def overdue(self) -> list[Stretch]:
        """Hand out what has waited too long, up to the last break between words: the word being said stays.

        It is examined like any other stretch, and again as the overlap of what follows.
        """
        if not self.due(self._clock()):
            return []
        cut = _last_break(self._held, len(self._held))
        return [self._hand_out(cut)] if cut else []

    def _next_cut(self) -> int | None:
        """Return the length of the next stretch, or None while the held text may still go on before its cut."""
        # One code point past the limit is looked at, so that an end that needs to see what follows is found there too.
        for end in _END.finditer(self._held, self._searched, self._most + 1):
            if not _is_abbreviation(self._held, end.start()):
                return end.end()
        if len(self._held) > self._most:
            return _last_break(self._held, self._most) or self._most
        # What was searched needs no second look, but for the mark at its end and an abbreviation's beginning.
        self._searched = max(0, len(self._held) - _LOOK_BACK)
        return None

    def _hand_out(self, cut: int) -> Stretch:
        stretch = Stretch(text=self._held[:cut], overlap=self._before)
        self._before = (self._before + stretch.text)[-self._overlap_size :] if self._overlap_size else ""
        self._held = self._held[cut:]
        self._searched = 0
        self._since = self._clock() if self._held else None
        return stretch


_LOOK_BACK = MAX_CHARACTERS


def _is_abbreviation(text: str, at: int) -> bool:
    """Whether the full stop at `at` belongs to a short form ('e.g. ', 'Dr. ', '1. ') and ends no sentence."""
    return text[at] == "." and _ABBREVIATION.search(text[max(0, at - 12) : at]) is not None


def _last_break(text: str, limit: int) -> int:
    """Return the last place up to `limit` that is inside no word, number or address; 0 when there is none.

    A break between digits, as in '138 0013 8000', is no break: such numbers are looked for as a whole.
    """
    for at in range(limit, 0, -1):
        if _breaks(text, at):
            return at
    return 0


def _breaks(text: str, at: int) -> bool:
    before = text[at - 1]
    after = text[at] if at < len(text) else ""
    if before.isspace():
        words = text[:at].rstrip()
        return not (words[-1:].isdigit() and (after == "" or after.isdigit() or after.isspace()))
    if before in "，、；：。！？）」』》”,;":
        return not (before in ",;" and after.isdigit())
    han = "\u3400" <= before <= "\u9fff"
    return han and (after == "" or not (after.isascii() and (after.isalnum() or after in "._@-")))


def deliver(decision: Decision, stretch: Stretch) -> str:
    """Return what may be shown of a stretch whose `overlap + text` got this decision; empty when it is blocked.

    Redactions are cut into the new text only: what was released can no longer be changed.
    """
    if decision.blocked:
        return ""
    shift = len(stretch.overlap)
    out: list[str] = []
    at = shift
    whole = stretch.overlap + stretch.text
    for cut in decision.redactions:
        if cut.end <= shift:
            continue
        out += [whole[at : max(cut.start, at)], cut.placeholder]
        at = cut.end
    return "".join([*out, whole[at:]])
