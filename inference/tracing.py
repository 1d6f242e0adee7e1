"""Traces of the inference tier: the caller's trace context is continued, spans go where the `OTEL_*` variables say."""

import re
from collections.abc import Mapping
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inference.ports import Delta, ModelInfo

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = "0" * 32
_CONTEXT = ("traceparent", "tracestate")


class RequestSpan(Protocol):
    """The span of one request, to be told how it ended."""

    @property
    def trace_id(self) -> str | None:
        """Trace id of the caller, where it sent one."""

    @property
    def headers(self) -> dict[str, str]:
        """W3C trace context for whoever works for this request; empty where there is none."""

    def end(self, outcome: str, last: Delta) -> None:
        """End the span."""


class _NoSpan:
    """Where nothing is exported, the caller's trace id is all there is."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.trace_id = trace_id(headers)
        self.headers = {name: headers[name] for name in _CONTEXT if name in headers} if self.trace_id else {}

    def end(self, outcome: str, last: Delta) -> None:
        """Do nothing."""


class _Span:
    """A recorded span, by the GenAI conventions."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.trace_id: str | None = f"{span.get_span_context().trace_id:032x}"
        self.headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(self.headers, set_span_in_context(span))

    def end(self, outcome: str, last: Delta) -> None:
        """Set what is known now, and end the span."""
        span, usage, timing = self._span, last.usage, last.timing
        if last.finish_reason is not None:
            span.set_attribute("gen_ai.response.finish_reasons", (last.finish_reason.value,))
        if usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
        if timing is not None:
            if timing.queued_s is not None:
                span.set_attribute("attest.inference.queue_seconds", timing.queued_s)
            span.set_attribute("gen_ai.server.time_to_first_token", timing.first_s)
        span.set_attribute("attest.inference.outcome", outcome)
        if outcome == "failed":
            span.set_status(StatusCode.ERROR)
        span.end()


class Tracing:
    """Begins spans; without an endpoint for traces nothing is recorded."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        endpoint = _endpoint(environ)
        self._provider: TracerProvider | None = None
        if endpoint:
            named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
            resource = Resource.create({} if named else {"service.name": "attest-inference"})
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))

    def begin(self, operation: str, info: ModelInfo, headers: Mapping[str, str]) -> RequestSpan:
        """Begin the span of a request within the caller's trace."""
        if self._provider is None:
            return _NoSpan(headers)
        context = TraceContextTextMapPropagator().extract(headers)
        span = self._provider.get_tracer("attest.inference").start_span(
            f"{operation} {info.name}",
            context=context,
            kind=SpanKind.SERVER,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "attest",
                "gen_ai.response.model": info.name,
                "attest.model.revision": info.revision,
            },
        )
        return _Span(span)

    def close(self) -> None:
        """Send what is still held; waits for the endpoint at most as long as its exporter does."""
        if self._provider is not None:
            self._provider.shutdown()


def trace_id(headers: Mapping[str, str]) -> str | None:
    """Trace id of a W3C `traceparent`; anything else is ignored, as the recommendation says."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return match[1] if match and match[1] != _NO_TRACE else None


def _endpoint(environ: Mapping[str, str]) -> str:
    """Full address for traces as the OTLP specification derives it; empty means no export."""
    if environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return ""
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    return environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "") or (f"{base}/v1/traces" if base else "")
