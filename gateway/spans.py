"""Spans that live longer than a block of code: of a turn, and of a request to the inference tier."""

import time

from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from gateway.metrics import Metrics
from gateway.tracing import trace_headers
from gateway.turn_events import TurnEnded, TurnRequest
from inference.ports import Usage


class TurnSpan:
    """The span of a turn, to be told how the turn ended."""

    def __init__(self, span: Span, request: TurnRequest, metrics: Metrics) -> None:
        self._span = span
        self._request = request
        self._metrics = metrics

    def ended(self, ended: TurnEnded) -> None:
        """Record outcome, reason and length."""
        request, outcome = self._request, ended.outcome.value
        labels = (request.surface.value, str(request.streamed).lower(), outcome, ended.reason)
        self._metrics.turns.labels(*labels).inc()
        self._metrics.turn_seconds.labels(outcome).observe(ended.duration_ms / 1000)
        if self._span.is_recording():
            self._span.set_attributes(
                {
                    "attest.turn.id": ended.turn_id,
                    "attest.turn.outcome": outcome,
                    "attest.turn.reason": ended.reason,
                    "attest.turn.categories": ended.categories,
                    "attest.turn.rules": ended.rules,
                    "attest.turn.redacted": ended.redacted,
                }
            )


class InferenceSpan:
    """One request to the inference tier: its span, and the figures of its stream."""

    def __init__(self, span: Span, labels: tuple[str, str, str], metrics: Metrics) -> None:
        self._span = span
        self._labels = labels
        self._metrics = metrics
        self._began = time.monotonic()
        self._first: float | None = None
        self._usage: Usage | None = None
        self.headers = trace_headers(set_span_in_context(span, Context()))
        """W3C trace context for the server."""

    def text(self) -> None:
        """Note that a stretch of text came."""
        if self._first is None:
            self._first = time.monotonic()
            self._metrics.first_token.labels(*self._labels).observe(self._first - self._began)

    def usage(self, usage: Usage) -> None:
        """Note the tokens as the server counted them."""
        self._usage = usage

    def end(self, finish_reason: str, error: BaseException | None) -> None:
        """End the span and observe every figure once."""
        now, metrics = time.monotonic(), self._metrics
        kind = type(error).__name__ if error is not None else ""
        metrics.operation.labels(*self._labels, kind).observe(now - self._began)
        if self._usage is not None:
            given, made = self._usage.prompt_tokens, self._usage.completion_tokens
            metrics.tokens.labels(*self._labels, "input").observe(given)
            metrics.tokens.labels(*self._labels, "output").observe(made)
            if self._first is not None and made > 1:
                metrics.each_token.labels(*self._labels).observe((now - self._first) / (made - 1))
            self._span.set_attribute("gen_ai.usage.input_tokens", given)
            self._span.set_attribute("gen_ai.usage.output_tokens", made)
        if finish_reason:
            self._span.set_attribute("gen_ai.response.finish_reasons", (finish_reason,))
        mark(self._span, error)
        self._span.end()


def mark(span: Span, error: BaseException | None) -> None:
    """Say that a span ended with an error, by its class alone: messages may quote content."""
    if error is not None and span.is_recording():
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
