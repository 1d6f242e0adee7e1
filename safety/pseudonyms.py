"""Pseudonyms of one turn: a placeholder goes to the model, the real value comes back in the answer.

One value has one placeholder in all messages of a turn (`[PHONE_1]`), and none that a message already holds. What a
model says is examined with the placeholders in it; the values are the person's own and passed on their way in. They
stay in memory, for the turn alone.
"""

import re
from collections.abc import Iterable

from safety.verdict import Decision

_NO_NAME = re.compile(r"[^\w]+")
_DEFAULT_NAME = "VALUE"


class Pseudonyms:
    """Gives placeholders and remembers what each stands for."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts` are all that the model will be sent: a placeholder that stands in one of them is not given."""
        self._taken = "\n".join(text for text in texts if "[" in text)
        self._placeholders: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        """How many values have a placeholder."""
        return len(self._placeholders)

    def apply(self, decision: Decision, text: str) -> str:
        """Cut the decision's redactions into `text`; what can be restored gets a placeholder of its own."""
        out: list[str] = []
        at = 0
        for cut in decision.redactions:
            value = text[cut.start : cut.end]
            placeholder = self._placeholder(value, cut.placeholder) if cut.restorable else cut.placeholder
            out += [text[at : cut.start], placeholder]
            at = cut.end
        return "".join([*out, text[at:]])

    def restorer(self) -> "Restorer":
        """Return what puts the values back into an answer."""
        return Restorer({placeholder: value for value, placeholder in self._placeholders.items()})

    def _placeholder(self, value: str, kind: str) -> str:
        if value not in self._placeholders:
            name = _NO_NAME.sub("_", kind).strip("_").upper() or _DEFAULT_NAME
            while True:
                self._numbers[name] = number = self._numbers.get(name, 0) + 1
                if (placeholder := f"[{name}_{number}]") not in self._taken:
                    break
            self._placeholders[value] = placeholder
        return self._placeholders[value]


class Restorer:
    """Puts values back into a growing text; a placeholder may come in any number of pieces.

    What might be the beginning of a placeholder is held back until the next piece, or `flush`, shows what it is.
    """

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self._values = values or {}
        self._pattern = re.compile("|".join(map(re.escape, self._values))) if self._values else None
        self._longest = max(map(len, self._values), default=0)
        self.held = ""
        """Text that was pushed and not given back yet."""
        self.restored = 0
        """How many placeholders were replaced."""

    def push(self, text: str, own: int | None = None) -> str:
        """Take more text, give back what is certain. Only the last `own` code points (default: all) can be held."""
        if self._pattern is None:
            return text
        whole = self.held + text
        at = 0
        out: list[str] = []
        for found in self._pattern.finditer(whole):
            out += [whole[at : found.start()], self._values[found.group()]]
            self.restored += 1
            at = found.end()
        free = len(text) if own is None else own
        room = len(whole) - at if free >= len(text) else min(free, len(whole) - at)
        kept = len(whole) - self._held_size(whole, room)
        self.held = whole[kept:]
        return "".join([*out, whole[at:kept]])

    def flush(self) -> str:
        """Give back what is held: the text has ended."""
        held, self.held = self.held, ""
        return held

    def _held_size(self, text: str, room: int) -> int:
        """Length of the longest end of `text` that begins a placeholder."""
        for size in range(min(room, self._longest - 1), 0, -1):
            end = text[-size:]
            if any(placeholder.startswith(end) for placeholder in self._values):
                return size
        return 0
