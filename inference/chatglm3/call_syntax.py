"""The text in which ChatGLM3 calls a tool: `tool_call(city='Beijing', days=3)` in a fenced block ↔ arguments as data.

What the model wrote is read by the small parser below: literals and nothing else. It is never evaluated, and no name,
operator or call within it means anything.
"""

import json
import math
import re
from collections.abc import Mapping

_LARGEST = 64 * 1024
_DEEPEST = 32
_OPEN = re.compile(r"(?:\s*```[A-Za-z]*[ \t]*\n)?\s*tool_call\(")
_CLOSE = re.compile(r"\s*\)\s*(?:```)?\s*")
_SPACE = re.compile(r"\s*")
_IDENTIFIER = re.compile(r"[^\W\d]\w{0,255}")
_NAME = re.compile(rf"{_IDENTIFIER.pattern}(?=\s*=)")
_WORD = re.compile(r"(?:True|true|False|false|None|null)\b")
_WORDS: dict[str, object] = {
    "True": True,
    "true": True,
    "False": False,
    "false": False,
    "None": None,
    "null": None,
}
_NUMBER = re.compile(r"[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][+-]?\d{1,4})?(?![\w.])")
_WHOLE = re.compile(r"[+-]?\d+")
_QUOTE = re.compile(r"'''|\"\"\"|'|\"")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": ""}
_PLAIN |= {character: character for character in "\\'\"/"}


class CallSyntaxError(ValueError):
    """The text is no call that can be read; the message quotes nothing of it."""


def render(arguments: Mapping[str, object]) -> str:
    """Write a call as the model does. `arguments` is a decoded JSON object."""
    if all(name.isidentifier() and _IDENTIFIER.fullmatch(name) for name in arguments):
        inner = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    else:
        inner = f"**{dict(arguments)!r}"
    return f"```python\ntool_call({inner})\n```"


def parse(text: str) -> dict[str, object]:
    """Read a call; return its arguments, of JSON's types. Raises `CallSyntaxError`."""
    opening = _OPEN.match(text) if len(text) <= _LARGEST else None
    if opening is None:
        raise CallSyntaxError("no call")
    reader = _Reader(text, opening.end())
    found = reader.arguments()
    try:
        # What JSON cannot carry (a lone surrogate) is no argument either.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise CallSyntaxError("not representable") from None
    return found


class _Reader:
    """A position in the text, and one method for each kind of thing that may stand there."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at

    def arguments(self) -> dict[str, object]:
        found: dict[str, object] = {}
        while not self._taken(_CLOSE, to_end=True):
            self._taken(_SPACE)
            if self._text.startswith("**", self._at):
                self._at += 2
                more = self._value(0)
                if not isinstance(more, dict):
                    raise CallSyntaxError("no arguments by name")
            elif name := self._taken(_NAME):
                self._expect("=")
                more = {name: self._value(0)}
            else:
                raise CallSyntaxError("no argument by name")
            if found.keys() & more.keys():
                raise CallSyntaxError("an argument stands twice")
            found |= more
            if not self._skip(",") and not _CLOSE.match(self._text, self._at):
                raise CallSyntaxError("neither a comma nor an end")
        return found

    def _value(self, depth: int) -> object:
        if depth > _DEEPEST:
            raise CallSyntaxError("too deep")
        self._taken(_SPACE)
        if quote := self._taken(_QUOTE):
            return self._string(quote)
        if word := self._taken(_WORD):
            return _WORDS[word]
        if number := self._taken(_NUMBER):
            return _number(number)
        if self._skip("{"):
            return self._mapping(depth + 1)
        for opening, closing in ("[]", "()"):
            if self._skip(opening):
                return self._sequence(closing, depth + 1)
        raise CallSyntaxError("not a literal")

    def _sequence(self, closing: str, depth: int) -> list[object]:
        found: list[object] = []
        while not self._skip(closing):
            found.append(self._value(depth))
            if not self._skip(","):
                self._expect(closing)
                break
        return found

    def _mapping(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while not self._skip("}"):
            name = self._value(depth)
            if not isinstance(name, str) or name in found:
                raise CallSyntaxError("a key is no text, or stands twice")
            self._expect(":")
            found[name] = self._value(depth)
            if not self._skip(","):
                self._expect("}")
                break
        return found

    def _string(self, quote: str) -> str:
        parts: list[str] = []
        text, at = self._text, self._at
        while True:
            end = text.find(quote, at)
            escape = text.find("\\", at, end) if end >= 0 else -1
            if end < 0 or (len(quote) == 1 and "\n" in text[at : escape if escape >= 0 else end]):
                raise CallSyntaxError("a text has no end")
            if escape < 0:
                parts.append(text[at:end])
                self._at = end + len(quote)
                return "".join(parts)
            match = _ESCAPE.match(text, escape)
            if match is None:
                raise CallSyntaxError("an escape has no end")
            parts += (text[at:escape], _character(match))
            at = match.end()

    def _taken(self, pattern: re.Pattern[str], *, to_end: bool = False) -> str:
        """Return what the pattern matches here, and go behind it; `to_end`: only if nothing follows."""
        match = pattern.match(self._text, self._at)
        if match is None or (to_end and match.end() != len(self._text)):
            return ""
        self._at = match.end()
        return match[0]

    def _skip(self, symbol: str) -> bool:
        self._taken(_SPACE)
        if not self._text.startswith(symbol, self._at):
            return False
        self._at += len(symbol)
        return True

    def _expect(self, symbol: str) -> None:
        if not self._skip(symbol):
            raise CallSyntaxError("a symbol is missing")


def _number(text: str) -> int | float:
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        raise CallSyntaxError("a number is too large")
    return value


def _character(match: re.Match[str]) -> str:
    """Return what an escape stands for; one that means nothing stays as it is, as in Python."""
    digits = match[1] or match[2] or match[3]
    if digits is None:
        return _PLAIN.get(match[4], match[0])
    code = int(digits, 16)
    if code > 0x10FFFF:  # noqa: PLR2004 - the last code point
        raise CallSyntaxError("no such character")
    return chr(code)
