"""The mechanics of traces: where spans go, how a trace is passed on, where an error was raised."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


def product_version() -> str:
    """Version of Attest; `source` where it runs from a checkout that is not installed."""
    try:
        return version("attest-gateway")
    except PackageNotFoundError:
        return "source"


def tracer_provider(environ: Mapping[str, str]) -> TracerProvider:
    """Build the provider as the `OTEL_*` variables say.

    Without an endpoint for traces nothing is sampled: spans then carry real ids, cost next to nothing, and the
    inference tier is told not to sample either.
    """
    endpoint = traces_endpoint(environ)
    provider = TracerProvider(
        sampler=None if endpoint else ALWAYS_OFF, resource=_resource(environ), shutdown_on_exit=False
    )
    if endpoint:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def trace_headers(context: Context | None) -> dict[str, str]:
    """Return a context (None: the current one) as W3C headers."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context)
    return carrier


def place_of(trace: TracebackType | None) -> str:
    """Name the file and line where an error was raised; empty when there is no traceback."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else ""


def traces_endpoint(environ: Mapping[str, str]) -> str:
    """Full address for traces as the OTLP specification derives it; empty means no export."""
    if environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return ""
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    return environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "") or (f"{base}/v1/traces" if base else "")


def _resource(environ: Mapping[str, str]) -> Resource:
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes = {"service.version": product_version()} | ({} if named else {"service.name": "attest-gateway"})
    return Resource.create(attributes)
