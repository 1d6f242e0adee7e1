"""Between the port and OpenAI's API as a client speaks it: a request as it is sent, an answer as it is read."""

import re
from dataclasses import dataclass, field

import msgspec

from inference import wire_client as wire
from inference.ports import ChatRequest, Delta, FinishReason, InferenceError, Message, ToolCall, Usage
from inference.wire import CalledFunction, WireToolCall

_FINISHES = {"length": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
_REVISION = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_ARGUMENTS = 1 << 20
"""Most characters of the arguments of all calls of one answer."""
_decode = msgspec.json.Decoder(wire.ReceivedChunk).decode


@dataclass
class _Call:
    """A call whose pieces are still coming."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class AnswerReader:
    """Reads one event after the other and keeps what belongs to the last delta."""

    def __init__(self, *, tools: bool) -> None:
        self.done = False
        self.finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._tools = tools
        self._calls: dict[int, _Call] = {}
        self._argued = 0
        self._left_out = 0
        self.revision = ""
        """Revision of the weights that answer, where our own tier names it."""
        self.lexicon = ""
        """Identity of the words that our own tier stops at."""
        self.stopped_by = ""
        """Rule of the forbidden word that ended the answer."""

    def take(self, event: bytes) -> str:
        """Return the text that the event adds. Raises `InferenceError` when it tells of one."""
        if self.done or event == b"[DONE]":
            self.done = True
            return ""
        chunk = _decode(event)
        if chunk.error is not None:
            raise InferenceError("The inference endpoint failed while answering.", retry_after=1)
        if chunk.system_fingerprint and _REVISION.fullmatch(chunk.system_fingerprint):
            self.revision = chunk.system_fingerprint
        if chunk.usage is not None:
            self._usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        if chunk.attest is not None:
            self._left_out = max(self._left_out, chunk.attest.left_out)
            self.lexicon = chunk.attest.lexicon or self.lexicon
            self.stopped_by = chunk.attest.stopped_by or self.stopped_by
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        if choice.finish_reason:
            self.finish = _FINISHES.get(choice.finish_reason, FinishReason.STOP)
        if choice.delta is None:
            return ""
        self._add(choice.delta.tool_calls or ())
        # Neither PostgreSQL nor a terminal takes a NUL, and no model needs one.
        return (choice.delta.content or "").replace("\0", "\ufffd")

    def delta(self) -> Delta:
        """Return the last delta. Calls are read only where tools were offered."""
        calls = tuple(ToolCall(call.id, call.name, "".join(call.arguments)) for call in self._calls.values())
        return Delta(
            finish_reason=FinishReason.TOOL_CALLS if calls and not self.stopped_by else self.finish,
            usage=self._usage,
            tool_calls=calls,
            left_out=self._left_out,
            revision=self.revision,
            lexicon=self.lexicon,
            stopped_by=self.stopped_by,
        )

    def _add(self, pieces: tuple[wire.ReceivedToolCall, ...]) -> None:
        """Keep pieces of calls, if any were asked for. Raises `InferenceError` when they become too long."""
        if not self._tools:
            return
        for piece in pieces:
            call = self._calls.setdefault(piece.index, _Call())
            function = piece.function or wire.ReceivedFunction()
            call.id = call.id or piece.id or ""
            call.name = call.name or function.name or ""
            if function.arguments:
                call.arguments.append(function.arguments)
                self._argued += len(function.arguments)
        if self._argued > _MOST_ARGUMENTS:
            raise InferenceError("The inference endpoint sent more than it may.")


def sent(request: ChatRequest) -> wire.SentRequest:
    """Return a request as the API has it."""
    return wire.SentRequest(
        model=request.model,
        messages=tuple(_message(message) for message in request.messages),
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=request.stop,
        seed=request.seed,
        tools=tuple(
            wire.SentTool(wire.SentFunction(tool.name, tool.description, msgspec.Raw(tool.parameters.encode())))
            for tool in request.tools
        ),
        truncation="auto" if request.drop_oldest else "",
        forbidden=request.forbidden,
        stream=True,
        stream_options=wire.SentStreamOptions(),
    )


def _message(message: Message) -> wire.SentMessage:
    return wire.SentMessage(
        role="tool" if message.tool_call_id else message.role,
        content=message.content,
        tool_calls=tuple(
            WireToolCall(id=call.id, function=CalledFunction(call.name, call.arguments)) for call in message.tool_calls
        ),
        tool_call_id=message.tool_call_id,
    )
