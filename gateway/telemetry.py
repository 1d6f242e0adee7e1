"""Every OpenTelemetry and Prometheus name of Attest, and the one object that uses them.

Names follow OpenTelemetry's GenAI semantic conventions (status: development, as of 1.37; pinned here) and, where those
have none yet (guards, audit, admission), stand under `attest.`. Nothing here ever receives a text of a turn. Exceptions
are recorded by their class alone: their messages may quote content. Longer than other files on purpose: the one place
to look for a name, or to follow a convention that changes.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context, use_span
from opentelemetry.util.types import AttributeValue
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from audit.outbox import OutboxState
from audit.ports import AuditUnavailableError
from audit.sequencer import SequencerStatus, TreeRefusedError
from audit.signing import SigningKeyError
from gateway.tracing import place_of, product_version, trace_headers, tracer_provider, traces_endpoint
from gateway.turn_events import TurnEnded, TurnRequest
from inference.ports import ChatRequest, Usage
from safety.verdict import Decision

PROVIDER = "attest"
"""`gen_ai.provider.name`: the conventions' list has no name for a company's own inference tier."""
MOST_MODELS = 32
"""Model names that become metric labels; any further one is counted as `other`."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_GEN_AI_DURATION = tuple(0.01 * 2**n for n in range(14))
_GEN_AI_TOKENS = tuple(4.0**n for n in range(14))
_GEN_AI_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_GEN_AI_EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_GEN_AI_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Metrics:
    """Every Prometheus metric, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Histogram(
            "attest_http_request_seconds",
            "HTTP requests",
            ("method", "route", "status"),
            registry=own,
            buckets=_SECONDS,
        )
        self.turns = Counter(
            "attest_turns", "Turns that ended", ("surface", "streamed", "outcome", "reason"), registry=own
        )
        self.turn_seconds = Histogram(
            "attest_turn_seconds", "Length of turns", ("outcome",), registry=own, buckets=_GEN_AI_DURATION
        )
        self.refused = Counter("attest_turns_refused", "Turns refused before they began", ("reason",), registry=own)
        self.mirrored = Counter("attest_turns_mirrored", "Answers of a mirrored version", ("outcome",), registry=own)
        self.running = Gauge("attest_turns_running", "Turns that hold a place", registry=own)
        self.queued = Gauge("attest_turns_queued", "Turns that wait for a place", registry=own)
        self.limiter_failures = Counter(
            "attest_limiter_failures", "Takes that the limiter's server did not decide", registry=own
        )
        self.stages = Histogram(
            "attest_stage_seconds", "Stages of a turn", ("stage", "status"), registry=own, buckets=_SECONDS
        )
        self.decisions = Counter("attest_decisions", "Decisions about texts", ("direction", "action"), registry=own)
        self.findings = Counter(
            "attest_guard_findings", "Verdicts on findings", ("direction", "category", "action"), registry=own
        )
        self.audit_commit = Histogram(
            "attest_audit_commit_seconds",
            "Durable commits to the audit log",
            ("status",),
            registry=own,
            buckets=_SECONDS,
        )
        self.tree_size = Gauge("attest_audit_tree_size", "Records in the signed tree", registry=own)
        self.unsequenced = Gauge("attest_audit_unsequenced_records", "Records that wait for their place", registry=own)
        self.checkpoint_age = Gauge("attest_audit_checkpoint_age_seconds", "Since the newest checkpoint", registry=own)
        self.refused_tree = Gauge("attest_audit_tree_refused", "1 while the tree may not be signed", registry=own)
        self.policy_refused = Gauge("attest_policy_refused", "1 while the policy in force cannot be used", registry=own)
        self.delivery_pending = Gauge("attest_delivery_pending_records", "Records that wait for delivery", registry=own)
        self.delivery_lag = Gauge("attest_delivery_lag_seconds", "Age of the oldest of them", registry=own)
        self.dead_letters = Gauge("attest_delivery_dead_letters", "Records that the store refused", registry=own)
        self.delivered = Counter("attest_delivery_records", "Records that came to their end", ("fate",), registry=own)
        self.delayed = Counter("attest_delivery_delayed", "Records put off", ("reason",), registry=own)
        self.delivery_interruptions = Counter(
            "attest_delivery_interruptions", "Times that nothing could be delivered", ("reason",), registry=own
        )
        self.sequencer_failures = Counter("attest_audit_sequencer_failures", "Steps that failed", registry=own)
        self.faults = Counter("attest_faults", "Errors that nobody foresaw", ("where",), registry=own)
        self.operation = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Length of a request to the inference tier",
            (*_GEN_AI_LABELS, "error_type"),
            registry=own,
            buckets=_GEN_AI_DURATION,
        )
        self.tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a request",
            (*_GEN_AI_LABELS, "gen_ai_token_type"),
            registry=own,
            buckets=_GEN_AI_TOKENS,
        )
        self.first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Until the first token",
            _GEN_AI_LABELS,
            registry=own,
            buckets=_GEN_AI_FIRST,
        )
        self.each_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Per token after the first",
            _GEN_AI_LABELS,
            registry=own,
            buckets=_GEN_AI_EACH,
        )


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
        _mark(self._span, error)
        self._span.end()


class DeliveryTelemetry:
    """What delivery tells. Implements `audit.delivery.DeliveryWatch`; reasons are codes of ours or of the store."""

    def __init__(self, metrics: Metrics, fault: Callable[[str, BaseException], None]) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger("attest.delivery")
        self.fault = fault

    def delivered(self, fate: str, count: int) -> None:
        """Count records that came to their end; a refused one is an alarm."""
        self._metrics.delivered.labels(fate).inc(count)
        if fate == "refused":
            self._log.error("dead letters", count=count)

    def delayed(self, reason: str, count: int) -> None:
        """Count records that must wait."""
        self._metrics.delayed.labels(reason).inc(count)

    def interrupted(self, reason: str) -> None:
        """Count and log that nothing can be delivered now."""
        self._metrics.delivery_interruptions.labels(reason).inc()
        self._log.warning("delivery interrupted", reason=reason)

    def sampled(self, state: OutboxState) -> None:
        """Show how far delivery is."""
        self._metrics.delivery_pending.set(state.pending)
        self._metrics.delivery_lag.set(state.lag_seconds)
        self._metrics.dead_letters.set(state.dead_letters)


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
            _mark(span, error)
            raise
        finally:
            span.end()

    def _model(self, name: str) -> str:
        if name not in self._models:
            if len(self._models) >= MOST_MODELS:
                return "other"
            self._models.add(name)
        return name


def _mark(span: Span, error: BaseException | None) -> None:
    if error is not None and span.is_recording():
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
