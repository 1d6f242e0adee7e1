"""From a text to the token sequences that the model judges.

One encoding of the whole text; its *units* are slices of it:
- *windows* of `WINDOW` tokens with `OVERLAP` tokens in common cover the whole text, so that nothing goes unexamined;
- *chunks*, whole sentences together up to `CHUNK` tokens, so that one harmful sentence is not drowned by its
  neighbours. Only for texts of more than one chunk and at most `CHUNKED` tokens.
A text of one chunk is one unit. Of one that is longer than `CHUNKED` some sentences are judged alone (`stretches`).
Tokens judged are at most twice the text's own; `MAX_WINDOWS` bounds the cost.
"""

import bisect
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from safety.classifier.manifest import ClassifierError
from safety.classifier.numbers import says_nothing, unread
from safety.classifier.tables import as_lists

Ids = NDArray[np.int64]

WINDOW = 126
OVERLAP = 24
CHUNK = 56
CHUNKED = 512
SHORTEST = 4
"""Least tokens of a sentence that is judged alone."""
CONTEXT = 24
"""Most tokens of what was released before that stand before a new stretch of a stream."""
MAX_WINDOWS = 512
"""About 5 s of one core. 32,000 characters, one token each, need 314."""
MAX_CHARACTERS = 300_000
"""Longer texts cannot fit the windows in any language: refused before they are tokenised."""

LATIN, HAN = 1, 2

_SENTENCE_END = re.compile(r"[。！？!?；;…\n]+[\"'”’」』）)\]]*|\.[\"')\]]*(?=\s)")


def is_han(character: str) -> bool:
    """Whether a character is a CJK ideograph of the basic planes in use."""
    return "\u3400" <= character <= "\u9fff"


class TextTooLongError(ValueError):
    """The text needs more windows than a turn may cost: it is refused, never judged in part."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a text that is judged by itself."""

    ids: Ids
    """Token ids with `[CLS]` and `[SEP]`."""
    start: int
    """First code point of the stretch."""
    end: int
    """One past its last code point."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's tokens, without `[CLS]` and `[SEP]`."""

    ids: Ids
    offsets: list[tuple[int, int]]
    text: str


class Tokeniser:
    """The classifier's tokenizer; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Load `tokenizer.json`; raises `ClassifierError` when it is not one of ours."""
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ClassifierError(
                f"The classifier's {path.name} cannot be read; restore it from the release."
            ) from error
        self.size = self._tokenizer.get_vocab_size()
        vocabulary = self._tokenizer.get_vocab()
        self.scripts: NDArray[np.int8] = np.zeros(self.size, np.int8)
        """What each token id is written in: `LATIN`, `HAN`, or neither (0)."""
        for token, at in vocabulary.items():
            self.scripts[at] = HAN if is_han(token[0]) else LATIN if token.lstrip("#")[:1].isalpha() else 0
        begin, end = (self._tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        if begin is None or end is None:
            raise ClassifierError(f"The classifier's {path.name} has no [CLS] or [SEP] token; export the model again.")
        self._begin, self._end = np.array([begin]), np.array([end])

    def encode(self, text: str) -> Tokens:
        """Tokenise a text in time linear in it, without rows of numbers and random signs (`numbers`).

        Rows of Chinese tables are read as lists (`tables`).

        Raises `TextTooLongError` over `MAX_CHARACTERS`.
        """
        if len(text) > MAX_CHARACTERS:
            raise TextTooLongError(f"the text has more than {MAX_CHARACTERS} characters")
        encoding = self._tokenizer.encode(as_lists(text), add_special_tokens=False)
        tokens = Tokens(np.asarray(encoding.ids, np.int64), encoding.offsets, text)
        return _without(tokens, spans) if (spans := unread(text)) else tokens

    def units(self, tokens: Tokens) -> list[Unit]:
        """Cut a text into the units to judge; empty for a text without tokens.

        Raises `TextTooLongError`.
        """
        count = len(tokens.ids)
        if count <= CHUNK:
            return [self._unit(tokens, 0, count)] if count else []
        cuts = windows(count)
        if len(cuts) > MAX_WINDOWS:
            raise TextTooLongError(f"the text needs {len(cuts)} windows, more than {MAX_WINDOWS}")
        if count <= CHUNKED:
            cuts += [cut for cut in chunks(tokens) if cut not in cuts]
        return [self._unit(tokens, start, end) for start, end in cuts]

    def units_after(self, tokens: Tokens, first_new: int) -> list[Unit]:
        """Cut a stretch of a stream, of which the tokens before `first_new` were judged when they were new.

        The new text is judged behind the end of what came before it, so that harm that spans both shows; and by itself
        as well where the old would outweigh it. Raises `TextTooLongError`.
        """
        start, count = max(0, first_new - CONTEXT), len(tokens.ids)
        if count - start > WINDOW:
            return self.units(Tokens(tokens.ids[start:], tokens.offsets[start:], tokens.text))
        units = [self._unit(tokens, start, count)] if count > start else []
        if count - start > CHUNK and first_new - start > count - first_new > 0:
            units.append(self._unit(tokens, first_new, count))
        return units

    def parts(self, tokens: Tokens, first: int = 0) -> list[Unit]:
        """Cut a text from a token on into its sentences, in order; one of at most `CHUNKED` tokens has none.

        What is too short to say anything stands with the next one.
        """
        if len(tokens.ids) - first <= CHUNKED:
            return []
        return [self._unit(tokens, start, end) for start, end in sentences(tokens, first)]

    def joined(self, earlier: Ids, tokens: Tokens, room: int) -> Ids:
        """Frame the earlier tokens' tail and the text's head, cut to `room` tokens, half each when both are long."""
        head = tokens.ids[: max(room // 2, room - len(earlier))]
        tail = earlier[len(earlier) - min(len(earlier), room - len(head)) :]
        return self.framed(np.concatenate([tail, head]))

    def framed(self, ids: Ids) -> Ids:
        """Put `[CLS]` before and `[SEP]` after."""
        return np.concatenate([self._begin, ids, self._end])

    def _unit(self, tokens: Tokens, start: int, end: int) -> Unit:
        return Unit(self.framed(tokens.ids[start:end]), tokens.offsets[start][0], tokens.offsets[end - 1][1])


def _without(tokens: Tokens, spans: list[tuple[int, int]]) -> Tokens:
    """Leave out what begins in spans of the text; everything where nothing in words would be left."""
    if says_nothing(tokens.text, spans):
        return Tokens(tokens.ids[:0], [], tokens.text)
    begins = [begin for begin, _ in tokens.offsets]
    keep = np.ones(len(begins), np.bool_)
    for start, end in spans:
        keep[bisect.bisect_left(begins, start) : bisect.bisect_left(begins, end)] = False
    return Tokens(tokens.ids[keep], [at for at, kept in zip(tokens.offsets, keep, strict=True) if kept], tokens.text)


def windows(count: int) -> list[tuple[int, int]]:
    """Cut `count` tokens into overlapping windows of near-equal length that cover all of them."""
    if count <= WINDOW:
        return [(0, count)]
    step = WINDOW - OVERLAP
    starts = list(range(0, count - WINDOW, step))
    return [(start, start + WINDOW) for start in starts] + [(count - WINDOW, count)]


def sentences(tokens: Tokens, first: int = 0) -> list[tuple[int, int]]:
    """Cut a text from a token on into sentences of at least `SHORTEST` and at most `WINDOW` tokens."""
    begins = [start for start, _ in tokens.offsets]
    ends = [bisect.bisect_left(begins, match.end()) for match in _SENTENCE_END.finditer(tokens.text)]
    cuts, start = list[tuple[int, int]](), first
    for end in [*ends, len(tokens.ids)]:
        if end - start >= SHORTEST or end == len(tokens.ids) > start:
            cuts.append((start, end))
            start = end
    return [part for cut in cuts for part in _halved(*cut)]


def chunks(tokens: Tokens) -> list[tuple[int, int]]:
    """Cut a text into whole sentences, short ones together, none longer than `WINDOW` tokens."""
    begins = [start for start, _ in tokens.offsets]
    ends = [bisect.bisect_left(begins, match.end()) for match in _SENTENCE_END.finditer(tokens.text)]
    cuts: list[tuple[int, int]] = []
    start = last = 0
    for end in [*ends, len(tokens.ids)]:
        if end - start > CHUNK and last > start:
            cuts.append((start, last))
            start = last
        last = end
    cuts.append((start, last))
    return [part for cut in cuts if cut[1] > cut[0] for part in _halved(*cut)]


def _halved(start: int, end: int) -> list[tuple[int, int]]:
    return [(start + a, start + b) for a, b in windows(end - start)]
