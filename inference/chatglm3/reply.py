"""Generated ids → the reply's text, as it grows."""

from typing import Protocol

from inference.chatglm3.tokenizer import Tokenizer
from inference.ports import ToolCall
from inference.stop import StopScanner

_UNFINISHED = "\ufffd"
_LONGEST_UNFINISHED = 3
"""A character of four bytes shows as three of those marks until its last byte arrives."""


class ReplyReader(Protocol):
    """Reads a reply id by id."""

    def push(self, index: int) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string ended the reply."""

    def flush(self) -> str:
        """Return what was held back, at the end of the reply."""

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Calls of tools in the whole reply, after `flush`."""


class NoText:
    """Where there is no tokenizer: ids have no text."""

    calls: tuple[ToolCall, ...] = ()

    def push(self, index: int) -> tuple[str, bool]:  # noqa: ARG002 - see ReplyReader
        """Return nothing."""
        return "", False

    def flush(self) -> str:
        """Return nothing."""
        return ""


class Detokeniser:
    """Turns ids into text one by one, and holds bytes of an unfinished character back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._shown = ""

    def push(self, index: int) -> str:
        """Return the text that this id adds."""
        self._window.append(index)
        text = self._tokenizer.decode(self._window)
        marks = len(text) - len(text.rstrip(_UNFINISHED))
        stable = text[: len(text) - min(marks, _LONGEST_UNFINISHED)]
        added = stable[len(self._shown) :] if len(stable) > len(self._shown) else ""
        if added:
            self._shown = stable
        if marks == 0:
            # Start over from this id: what follows is decoded beside it, so that a space before it is kept.
            self._window = [index]
            self._shown = self._tokenizer.decode(self._window)
        return added

    def flush(self) -> str:
        """Return what was held back."""
        text = self._tokenizer.decode(self._window)
        added = text[len(self._shown) :]
        self._shown = text
        return added


class Reply:
    """Ids → text without the reply's metadata line, cut at stop strings.

    A reply begins with its metadata line, which is empty in plain chat, so blank text at its beginning is dropped.
    What continues a text (`continued`) has no such line, and keeps its beginning.
    """

    calls: tuple[ToolCall, ...] = ()

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...], *, continued: bool = False) -> None:
        self._pieces = Detokeniser(tokenizer)
        self._stops = StopScanner(stops)
        self._begun = continued

    def push(self, index: int) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string ended the reply."""
        return self._pass(self._pieces.push(index))

    def flush(self) -> str:
        """Return what was held back, at the end of the reply."""
        shown, stopped = self._pass(self._pieces.flush())
        return shown if stopped else shown + self._stops.flush()

    def _pass(self, text: str) -> tuple[str, bool]:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return self._stops.feed(text) if text else ("", False)
