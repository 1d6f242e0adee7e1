"""Tools in ChatGLM3's own format.

Offered in a system message, called by a reply's metadata line, answered by an observation:

    <|system|>      … You have access to the following tools: [ {name, description, parameters} … ]
    <|assistant|>get_weather
    ```python
    tool_call(city='Beijing')
    ```
    <|observation|>  what the tool said
"""

import json
import uuid
from collections.abc import Sequence

import msgspec

from inference.chatglm3.call_syntax import CallSyntaxError, parse, render
from inference.chatglm3.reply import Detokeniser
from inference.chatglm3.tokenizer import Tokenizer
from inference.ports import Message, Role, Tool, ToolCall
from inference.stop import StopScanner

OFFER = "Answer the following questions as best as you can. You have access to the following tools:"
"""The words with which the published model was trained to expect tools."""
_LONGEST_LINE = 80


class Line(msgspec.Struct, frozen=True):
    """One message as the model reads it, with its metadata line."""

    message: Message
    metadata: str = ""


def spread(messages: Sequence[Message], tools: Sequence[Tool]) -> list[list[Line]]:
    """Return what the model reads for each message: calls are messages of their own, named in the metadata line.

    The tools stand in the first system message, after its own words; where there is none, they are one, before all.
    """
    lines = [_lines(message) for message in messages]
    if tools:
        offer = f"{OFFER}\n{_offered(tools)}"
        first = next((place for place, message in enumerate(messages) if message.role is Role.SYSTEM), None)
        if first is None:
            lines.insert(0, [Line(Message(Role.SYSTEM, offer))])
        else:
            own = messages[first].content
            lines[first] = [Line(Message(Role.SYSTEM, f"{own}\n\n{offer}" if own else offer))]
    return lines


def _lines(message: Message) -> list[Line]:
    if not message.tool_calls:
        return [Line(message)]
    found = [Line(Message(message.role, message.content))] if message.content else []
    calls = message.tool_calls
    return found + [Line(Message(message.role, render(json.loads(call.arguments))), call.name) for call in calls]


def _offered(tools: Sequence[Tool]) -> str:
    described = [
        {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}
        for tool in tools
    ]
    return json.dumps(described, indent=4, ensure_ascii=False)


class ToolReply:
    """Ids → text and calls, where tools are offered.

    A reply has one part or several, each opened by the assistant's id and beginning with its metadata line: empty
    before text, the tool's name before a call. A call is held back until it is whole. What cannot be read as a call of
    an offered tool is text.
    """

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...], offered: frozenset[str]) -> None:
        self._tokenizer = tokenizer
        self._pieces = Detokeniser(tokenizer)
        self._stops = StopScanner(stops)
        self._offered = offered
        self._calls: list[ToolCall] = []
        self._held: str | None = ""
        """The beginning of a part until its metadata line is whole; None once it is known to be text."""
        self._name = ""
        """The tool whose call is being held back."""
        self._begun = False

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Calls that are whole."""
        return tuple(self._calls)

    def push(self, index: int) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string ended the reply."""
        if index != self._tokenizer.specials.assistant:
            return self._show(self._part(self._pieces.push(index)))
        shown = self._show(self._end_part())
        self._pieces, self._held, self._name = Detokeniser(self._tokenizer), "", ""
        return shown

    def flush(self) -> str:
        """Return what was held back, at the end of the reply."""
        shown, stopped = self._show(self._end_part())
        return shown if stopped else shown + self._stops.flush()

    def _part(self, text: str) -> str:
        """Return what of a part is known to be text."""
        if self._held is None:
            return text
        self._held += text
        if self._name:
            return ""
        line, newline, rest = self._held.lstrip(" \t").partition("\n")
        if not newline and len(line) <= _LONGEST_LINE:
            return ""
        name = line.strip()
        if newline and name in self._offered:
            self._name = name
            return ""
        known, self._held = (self._held if name else rest), None
        return known

    def _end_part(self) -> str:
        text = self._part(self._pieces.flush())
        held, self._held = self._held or "", None
        if not self._name:
            return text + held
        try:
            arguments = parse(held.lstrip(" \t").partition("\n")[2])
        except CallSyntaxError:
            return text + held
        named = json.dumps(arguments, ensure_ascii=False)
        self._calls.append(ToolCall(id=f"call_{uuid.uuid4().hex[:24]}", name=self._name, arguments=named))
        return text

    def _show(self, text: str) -> tuple[str, bool]:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return self._stops.feed(text) if text else ("", False)
