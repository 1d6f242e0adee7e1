"""`/v1/chat/completions`: deltas → the API's objects."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from inference import wire
from inference.exchange import Exchange, event, usage_of
from inference.ports import Delta, FinishReason, ToolCall, Usage


class ChatShape:
    """How an answer looks in this API."""

    operation = "chat"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._told = False

    def opening(self) -> bytes:
        """Return the event that opens a stream."""
        return self._chunk(wire.WireDelta(role="assistant", content=""))

    def stretch(self, delta: Delta) -> bytes:
        """Return the events for a stretch, empty where it adds nothing."""
        told = "" if self._told else delta.lexicon
        notes = wire.WireNotes(lexicon=told, stopped_by=delta.stopped_by) if told or delta.stopped_by else None
        text = self._chunk(wire.WireDelta(content=delta.text), notes=notes) if delta.text or notes else b""
        self._told = self._told or notes is not None
        if not delta.tool_calls:
            return text
        return text + self._chunk(wire.WireDelta(tool_calls=_calls(delta.tool_calls, numbered=True)))

    def closing(self, last: Delta, *, include_usage: bool) -> bytes:
        """Return the events that end a stream; the one with the token counts has no choices."""
        end = self._chunk(wire.WireDelta(), last.finish_reason, _notes(last))
        if not include_usage:
            return end
        exchange = self._exchange
        return end + event(
            wire.Chunk(
                id=exchange.id,
                created=exchange.created,
                model=exchange.info.name,
                choices=(),
                system_fingerprint=exchange.info.revision,
                usage=usage_of(last.usage or Usage()),
            )
        )

    def whole(self, deltas: Sequence[Delta]) -> msgspec.Struct:
        """Return the answer that is not streamed."""
        exchange, last = self._exchange, deltas[-1]
        text = "".join(delta.text for delta in deltas)
        calls = tuple(call for delta in deltas for call in delta.tool_calls)
        message = wire.AnswerMessage(
            content=text if text or not calls else None, tool_calls=_calls(calls, numbered=False) if calls else UNSET
        )
        choice = wire.AnswerChoice(message=message, finish_reason=last.finish_reason or FinishReason.STOP)
        return wire.Answer(
            id=exchange.id,
            created=exchange.created,
            model=exchange.info.name,
            choices=(choice,),
            usage=usage_of(last.usage or Usage()),
            system_fingerprint=exchange.info.revision,
            attest=_notes(last) or UNSET,
        )

    def _chunk(
        self, delta: wire.WireDelta, finish: FinishReason | None = None, notes: wire.WireNotes | None = None
    ) -> bytes:
        exchange = self._exchange
        return event(
            wire.Chunk(
                id=exchange.id,
                created=exchange.created,
                model=exchange.info.name,
                choices=(wire.ChunkChoice(delta=delta, finish_reason=finish),),
                system_fingerprint=exchange.info.revision,
                attest=notes or UNSET,
            )
        )


def _notes(last: Delta) -> wire.WireNotes | None:
    if not (last.left_out or last.lexicon):
        return None
    return wire.WireNotes(left_out=last.left_out, lexicon=last.lexicon, stopped_by=last.stopped_by)


def _calls(calls: Sequence[ToolCall], *, numbered: bool) -> tuple[wire.WireToolCall, ...]:
    return tuple(
        wire.WireToolCall(
            id=call.id,
            function=wire.CalledFunction(name=call.name, arguments=call.arguments),
            index=place if numbered else UNSET,
        )
        for place, call in enumerate(calls)
    )
