"""One request on its way through the server: its answer as a stream or whole, its log line, its figures."""

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from inference import wire
from inference.ports import Delta, InferenceError, ModelInfo, Usage
from inference.refusals import error_body
from inference.telemetry import Telemetry
from inference.tracing import RequestSpan

LOG = logging.getLogger("attest.inference")

_DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


@dataclass
class Exchange:
    """What a log line, each chunk and the figures need to know of one request."""

    info: ModelInfo
    telemetry: Telemetry
    span: RequestSpan
    operation: str
    """As OpenTelemetry's GenAI conventions name it: `chat`, `text_completion`."""
    prefix: str = "chatcmpl"
    id: str = ""
    started: float = field(default_factory=time.monotonic)
    created: int = field(default_factory=lambda: int(time.time()))
    first_s: float | None = None

    def __post_init__(self) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"

    def begun(self) -> None:
        """Note that the first stretch came."""
        if self.first_s is None:
            self.first_s = time.monotonic() - self.started

    def ended(self, outcome: str, last: Delta, *, streamed: bool) -> None:
        """Write the one line that each request leaves, count it, and end its span."""
        seconds = time.monotonic() - self.started
        if outcome != "refused":  # that line is written where the refusal is
            self._log(outcome, last, seconds, streamed=streamed)
        self.telemetry.ended(self.info, self.operation, outcome, seconds, last)
        self.span.end(outcome, last)

    def _log(self, outcome: str, last: Delta, seconds: float, *, streamed: bool) -> None:
        usage, timing = last.usage, last.timing
        LOG.info(
            outcome,
            extra={
                "request_id": self.id,
                "trace_id": self.span.trace_id,
                "model": self.info.name,
                "finish_reason": last.finish_reason,
                "prompt_tokens": usage.prompt_tokens if usage else None,
                "completion_tokens": usage.completion_tokens if usage else None,
                "left_out": last.left_out or None,
                "queued_ms": _ms(timing.queued_s) if timing else None,
                "first_ms": _ms(self.first_s),
                "duration_ms": _ms(seconds),
                "streamed": streamed,
            },
        )


class Shape(Protocol):
    """How an answer looks in one of the APIs."""

    def opening(self) -> bytes:
        """Return what opens a stream."""

    def stretch(self, delta: Delta) -> bytes:
        """Return the events for a stretch, empty where it adds nothing."""

    def closing(self, last: Delta, *, include_usage: bool) -> bytes:
        """Return the events that end a stream."""

    def whole(self, deltas: Sequence[Delta]) -> msgspec.Struct:
        """Return the answer that is not streamed."""


async def stream(
    exchange: Exchange, shape: Shape, first: Delta, rest: AsyncGenerator[Delta, None], *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the events of a streamed answer, whose first stretch is there already."""
    outcome, last = "broken off", first
    try:
        async with aclosing(rest):
            yield shape.opening() + shape.stretch(first)
            while last.finish_reason is None:
                last = await anext(rest)
                if found := shape.stretch(last):
                    yield found
        outcome = "answered"
        yield shape.closing(last, include_usage=include_usage) + _DONE
    except (InferenceError, StopAsyncIteration) as error:
        outcome = "failed"
        yield b"data: " + _encode(error_body(error)) + b"\n\n"
    finally:
        exchange.ended(outcome, last, streamed=True)


async def collect(exchange: Exchange, deltas: AsyncGenerator[Delta, None]) -> list[Delta]:
    """Return every stretch of an answer. Raises `InferenceError`."""
    found: list[Delta] = []
    outcome = "broken off"
    try:
        async with aclosing(deltas):
            while not found or found[-1].finish_reason is None:
                found.append(await anext(deltas))
                exchange.begun()
        outcome = "answered"
    except StopAsyncIteration:
        outcome = "failed"
        raise InferenceError("The engine ended the answer before its end.") from None
    except InferenceError:
        outcome = "failed" if found else "refused"
        raise
    finally:
        exchange.ended(outcome, found[-1] if found else Delta(), streamed=False)
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def event(body: msgspec.Struct) -> bytes:
    """Return one server-sent event."""
    return b"data: " + _encode(body) + b"\n\n"


def usage_of(usage: Usage) -> wire.WireUsage:
    """Return token counts as the API has them."""
    return wire.WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )
