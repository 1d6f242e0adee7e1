"""The one object that counts, times and traces. Metrics stand in `gateway.metrics`, names of spans here.

Names follow OpenTelemetry's GenAI semantic conventions (status: development, as of 1.37; pinned here) and, where those
have none yet (guards, audit, admission), stand under `attest.`. Nothing here ever receives a text of a turn. Exceptions
are recorded by their class alone: their messages may quote content.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from opentelemetry.trace import Span, SpanKind, get_current_span, use_span
from opentelemetry.util.types import AttributeValue
from prometheus_client import generate_latest

from audit.ports import AuditUnavailableError
from audit.sequencer import SequencerStatus, TreeRefusedError
from audit.signing import SigningKeyError
from gateway.delivery_telemetry import DeliveryTelemetry
from gateway.metrics import Metrics
from gateway.spans import InferenceSpan, TurnSpan, mark
from gateway.tracing import place_of, product_version, trace_headers, tracer_provider, traces_endpoint
from gateway.turn_events import TurnRequest
from inference.ports import ChatRequest
from safety.verdict import Decision

PROVIDER = "attest"
"""`gen_ai.provider.name`: the conventions' list has no name for a company's own inference tier."""
MOST_MODELS = 32
"""Model names that become metric labels; any further one is counted as `other`."""


class Telemetry:
    """Spans, metrics and trace ids. Without an OTLP endpoint spans are ids only: real, passed on, and nearly free."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.metrics = Metrics()
        self.delivery = DeliveryTelemetry(self.metrics, self.fault)
        self._models: set[str] = set()
        self._log = structlog.get_logger("attest.telemetry")
        environ = os.environ if environ is None else environ
        self._exported = bool(traces_endpoint(environ))
        self._provider = tracer_provider(environ)
        self._tracer = self._provider.get_tracer("attest", product_version())

    def watch(self, running: Callable[[], int], queued: Callable[[], int]) -> None:
        """Read the gauges of admission from these whenever metrics are asked for."""
        self.metrics.running.set_function(running)
        self.metrics.queued.set_function(queued)

    def watch_sequencer(self, status: Callable[[], SequencerStatus]) -> None:
        """Read the gauges of the sequencer from this whenever metrics are asked for."""
        metrics = self.metrics
        metrics.tree_size.set_function(lambda: status().tree_size)
        metrics.unsequenced.set_function(lambda: status().unsequenced)
        metrics.checkpoint_age.set_function(lambda: status().age_s(time.time()))
        metrics.refused_tree.set_function(lambda: bool(status().refused))

    def watch_policy(self, refused: Callable[[], bool]) -> None:
        """Read the gauge of the policy from this whenever metrics are asked for."""
        self.metrics.policy_refused.set_function(lambda: float(refused()))

    @contextmanager
    def request(self, method: str, route: str) -> Iterator[Callable[[int], None]]:
        """Span one HTTP request by its route template; call what this yields with the status."""
        began, status = time.monotonic(), 500

        def answered(code: int) -> None:
            nonlocal status
            status = code

        attributes = {"http.request.method": method, "http.route": route}
        with self._span(f"{method} {route}", attributes, SpanKind.SERVER) as span:
            try:
                yield answered
            finally:
                span.set_attribute("http.response.status_code", status)
                self.metrics.requests.labels(method, route, str(status)).observe(time.monotonic() - began)

    @contextmanager
    def turn(self, request: TurnRequest) -> Iterator[TurnSpan]:
        """Span a whole turn."""
        attributes: dict[str, AttributeValue] = {
            "attest.turn.surface": request.surface.value,
            "gen_ai.request.stream": request.streamed,
        }
        if request.conversation_id:
            attributes["gen_ai.conversation.id"] = request.conversation_id
        with self._span("attest.turn", attributes) as span:
            yield TurnSpan(span, request, self.metrics)

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Span and time one stage of a turn; an error or a cancellation shows as its status."""
        began, status = time.monotonic(), "error"
        with self._span(f"attest.stage {stage}", {"attest.stage": stage}):
            try:
                yield
                status = "ran"
            finally:
                self.metrics.stages.labels(stage, status).observe(time.monotonic() - began)

    @contextmanager
    def guard(self, direction: str) -> Iterator[Callable[[Decision], None]]:
        """Span the examination of one text; call what this yields with the decision."""
        with self._span(f"attest.guard {direction}", {"attest.guard.target": direction}) as span:
            yield lambda decision: self._decided(span, direction, decision)

    def _decided(self, span: Span, direction: str, decision: Decision) -> None:
        self.metrics.decisions.labels(direction, decision.action.value).inc()
        for examination in decision.examinations:
            stage = f"{direction}.{examination.guard}"
            self.metrics.stages.labels(stage, examination.status.value).observe(examination.milliseconds / 1000)
        for verdict in decision.verdicts:
            category = verdict.finding.category.value
            self.metrics.findings.labels(direction, category, verdict.action.value).inc()
        if not span.is_recording():
            return
        span.set_attributes({"attest.guard.action": decision.action.value, "attest.guard.policy": decision.policy_hash})
        for verdict in decision.verdicts:
            finding = verdict.finding
            span.add_event(
                "attest.guard.verdict",
                {
                    "attest.guard.name": finding.guard,
                    "attest.guard.rule": finding.rule,
                    "attest.guard.category": finding.category.value,
                    "attest.guard.score": finding.score,
                    "attest.guard.verdict": verdict.band.value,
                    "attest.guard.action": verdict.action.value,
                },
            )

    def inference(self, request: ChatRequest) -> InferenceSpan:
        """Begin the span `chat MODEL` of a request to the inference tier; the caller ends it."""
        model = self._model(request.model)
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.top_p": request.top_p,
            "gen_ai.request.max_tokens": request.max_tokens,
        }
        span = self._tracer.start_span(f"chat {model}", kind=SpanKind.CLIENT, attributes=attributes)
        return InferenceSpan(span, ("chat", PROVIDER, model), self.metrics)

    @contextmanager
    def audit_commit(self) -> Iterator[None]:
        """Span and time one durable commit."""
        began, status = time.monotonic(), "error"
        with self._span("attest.audit.commit", {}):
            try:
                yield
                status = "ran"
            finally:
                self.metrics.audit_commit.labels(status).observe(time.monotonic() - began)

    def refused(self, reason: str) -> None:
        """Count a turn that was refused before it began; `reason` is a problem code."""
        self.metrics.refused.labels(reason).inc()

    def mirrored(self, outcome: str) -> None:
        """Count an answer of a mirrored version; `outcome` is `recorded`, `left_out` or why it failed."""
        self.metrics.mirrored.labels(outcome).inc()

    def limiter_failed(self) -> None:
        """Count a take that the limiter's server did not decide."""
        self.metrics.limiter_failures.inc()

    def sequencer_failed(self, error: Exception) -> None:
        """Count and log a step of the sequencer that failed; why is said where the words are ours."""
        self.metrics.sequencer_failures.inc()
        why = str(error) if isinstance(error, TreeRefusedError | SigningKeyError | AuditUnavailableError) else ""
        self._log.error("sequencer failed", error=type(error).__name__, reason=why)

    def fault(self, where: str, error: BaseException) -> None:
        """Log and count an error that nobody foresaw, by its class and place alone."""
        self.metrics.faults.labels(where).inc()
        self._log.error("fault", where=where, error=type(error).__name__, place=place_of(error.__traceback__))

    def trace_id(self) -> str:
        """Return the current trace's id as 32 hex digits; empty outside a trace."""
        context = get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""

    def headers(self) -> dict[str, str]:
        """Return the current W3C trace context as headers for another server."""
        return trace_headers(None)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.metrics.registry)

    async def aclose(self) -> None:
        """Export what is left; takes a few seconds at most when the collector is gone."""
        await asyncio.to_thread(self._provider.shutdown)

    @contextmanager
    def _span(
        self, name: str, attributes: Mapping[str, AttributeValue], kind: SpanKind = SpanKind.INTERNAL
    ) -> Iterator[Span]:
        around = get_current_span()
        if not self._exported and around.get_span_context().is_valid:
            yield around  # nobody will see this span: the ids of the one around it are all that is asked for
            return
        span = self._tracer.start_span(name, kind=kind, attributes=attributes)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield span
        except BaseException as error:
            mark(span, error)
            raise
        finally:
            span.end()

    def _model(self, name: str) -> str:
        if name not in self._models:
            if len(self._models) >= MOST_MODELS:
                return "other"
            self._models.add(name)
        return name
