"""Every Prometheus metric of Attest: name, labels, buckets. What is counted is never a text of a turn.

Names follow OpenTelemetry's GenAI semantic conventions (status: development, as of 1.37; pinned here) and, where those
have none yet (guards, audit, admission), begin with `attest_`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

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
