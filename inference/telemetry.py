"""Every Prometheus metric of the inference tier, by model version.

Names follow OpenTelemetry's GenAI semantic conventions where those have one, and stand under `attest_inference_` where
they do not. Nothing here ever receives a text.
"""

from collections.abc import Callable, Iterable

from msgspec import UNSET, UnsetType
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from inference.engine.base import Load
from inference.engines import Engines
from inference.gpus import Gpus
from inference.ports import Delta, ModelInfo

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_DURATION = tuple(0.01 * 2**n for n in range(14))
_TOKENS = tuple(4.0**n for n in range(10))
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_LABELS = ("gen_ai_operation_name", "gen_ai_response_model", "attest_model_revision")
_MODEL_LABELS = _LABELS[1:]

_Reading = tuple[str, Callable[[Load], int | UnsetType]]
_GAUGES: dict[str, _Reading] = {
    "ready": ("1 while a request would be served", lambda load: int(load.ready)),
    "running": ("Requests that are being answered", lambda load: load.running),
    "waiting": ("Requests that wait for a place", lambda load: load.waiting),
    "places": ("Requests that can be decoded together", lambda load: load.places),
    "cache_tokens": ("Tokens of key-value memory that running requests hold", lambda load: load.cache_tokens),
    "cache_limit_tokens": ("Most tokens of key-value memory", lambda load: load.cache_limit),
}
_COUNTERS: dict[str, _Reading] = {
    "restarts": ("Times that the decode loop failed and started again", lambda load: load.restarts),
    "decode_steps": ("Decode steps", lambda load: load.decode_steps),
    "decode_rows": (
        "Tokens that decode steps gave; by their number, the batch's mean size",
        lambda load: load.decode_rows,
    ),
    "prompt_tokens": ("Tokens of prompts that have been read", lambda load: load.prompt_tokens),
}


class Telemetry:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, engines: Engines, gpus: Gpus | None = None) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        own.register(_LoadCollector(engines))
        own.register(_GpuCollector(gpus or Gpus()))
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Length of requests",
            (*_LABELS, "outcome"),
            registry=own,
            buckets=_DURATION,
        )
        self._first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From a request's arrival until its first token",
            _LABELS,
            registry=own,
            buckets=_FIRST,
        )
        self._each = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Per token after the first",
            _LABELS,
            registry=own,
            buckets=_EACH,
        )
        self._queued = Histogram(
            "attest_inference_queue_seconds",
            "From a request's arrival until it has a place",
            _LABELS,
            registry=own,
            buckets=_SECONDS,
        )
        self._tokens = Histogram(
            "attest_inference_tokens",
            "Tokens of answered requests",
            (*_LABELS, "gen_ai_token_type"),
            registry=own,
            buckets=_TOKENS,
        )
        self._refused = Counter(
            "attest_inference_refused", "Requests refused before they began", ("code",), registry=own
        )

    def ended(self, info: ModelInfo, operation: str, outcome: str, seconds: float, last: Delta) -> None:
        """Observe a request that has ended; `outcome` is its log line."""
        labels = (operation, info.name, info.revision)
        self._duration.labels(*labels, outcome).observe(seconds)
        usage, timing = last.usage, last.timing
        if usage is not None:
            self._tokens.labels(*labels, "input").observe(usage.prompt_tokens)
            self._tokens.labels(*labels, "output").observe(usage.completion_tokens)
        if timing is not None:
            if timing.queued_s is not None:
                self._queued.labels(*labels).observe(timing.queued_s)
            self._first.labels(*labels).observe(timing.first_s)
            if usage is not None and usage.completion_tokens > 1:
                self._each.labels(*labels).observe(timing.decode_s / (usage.completion_tokens - 1))

    def refused(self, code: str) -> None:
        """Count a refusal by its code."""
        self._refused.labels(code).inc()

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _LoadCollector(Collector):
    """Reads the engines' load whenever metrics are asked for."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        """Yield gauges and counters of each version's loop."""
        loads = [((engine.info.name, engine.info.revision), engine.load()) for engine in self._engines.running()]
        for name, (said, read) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"attest_inference_{name}", said, labels=_MODEL_LABELS)
            for labels, load in loads:
                if (value := read(load)) is not UNSET:
                    gauge.add_metric(labels, value)
            yield gauge
        for name, (said, read) in _COUNTERS.items():
            counter = CounterMetricFamily(f"attest_inference_{name}", said, labels=_MODEL_LABELS)
            for labels, load in loads:
                if (value := read(load)) is not UNSET:
                    counter.add_metric(labels, value)
            yield counter
        failures = CounterMetricFamily("attest_inference_version_failures", "Versions that could not be opened")
        failures.add_metric((), self._engines.failures())
        yield failures


class _GpuCollector(Collector):
    """Reads the machine's GPUs whenever metrics are asked for; without any there is no such metric."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus

    def collect(self) -> Iterable[Metric]:
        """Yield how busy each is, and its memory."""
        found = tuple(self._gpus.read())
        if not found:
            return
        labels = ("hw_id", "hw_name")
        busy = GaugeMetricFamily("hw_gpu_utilization_ratio", "Share of time in which a GPU computed", labels=labels)
        used = GaugeMetricFamily("hw_gpu_memory_usage_bytes", "Memory of a GPU that is in use", labels=labels)
        limit = GaugeMetricFamily("hw_gpu_memory_limit_bytes", "Memory of a GPU", labels=labels)
        for gpu in found:
            busy.add_metric((gpu.id, gpu.name), gpu.busy)
            used.add_metric((gpu.id, gpu.name), gpu.used_bytes)
            limit.add_metric((gpu.id, gpu.name), gpu.all_bytes)
        yield from (busy, used, limit)
