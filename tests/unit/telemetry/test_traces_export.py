"""Spans as a collector receives them over OTLP/HTTP: one trace a turn, nested, named, without content."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.measured import MeasuredModel, MeasuredSafety
from gateway.telemetry import Telemetry
from gateway.turn_events import Outcome, TurnEnded
from inference.ports import ChatRequest, Delta, FinishReason, InferenceError, Message, Role, Usage
from safety.ports import Direction, TurnContext
from tests.unit.telemetry.values import MARKER, ScriptedModel, ScriptedSafety, turn_request


class Receiver(ThreadingHTTPServer):
    """A collector's OTLP/HTTP trace address, and everything that was sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def messages(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def spans(self) -> dict[str, Span]:
        found = [
            span
            for message in self.messages()
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return {span.name: span for span in found}


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Stay quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def attributes(span: Span) -> dict[str, object]:
    return {item.key: getattr(item.value, str(item.value.WhichOneof("value"))) for item in span.attributes}


async def run_turn(telemetry: Telemetry, model: ScriptedModel) -> None:
    measured = MeasuredModel(model, telemetry)
    safety = MeasuredSafety(ScriptedSafety(), telemetry)
    request = ChatRequest("chatglm3", (Message(Role.USER, MARKER),), temperature=0.5)
    with telemetry.request("POST", "/v1/chat/completions") as answered, telemetry.turn(turn_request()) as span:
        with telemetry.stage("input"):
            await safety.examine(MARKER, TurnContext(Direction.INPUT))
        with telemetry.audit_commit():
            pass
        _ = [delta async for delta in measured.stream(request)]
        span.ended(TurnEnded(turn_id="t-1", outcome=Outcome.COMPLETED))
        answered(200)


async def test_one_trace_with_a_span_for_each_stage(receiver: Receiver) -> None:
    telemetry = Telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url + "/"})
    model = ScriptedModel(Delta(MARKER), Delta("", FinishReason.STOP, Usage(7, 3)))
    await run_turn(telemetry, model)
    await telemetry.aclose()
    assert set(receiver.paths) == {"/v1/traces"}
    spans = receiver.spans()
    assert len({span.trace_id for span in spans.values()}) == 1
    parents = {
        name: next((other.name for other in spans.values() if other.span_id == span.parent_span_id), "")
        for name, span in spans.items()
    }
    assert parents == {
        "POST /v1/chat/completions": "",
        "attest.turn": "POST /v1/chat/completions",
        "attest.stage input": "attest.turn",
        "attest.guard input": "attest.stage input",
        "attest.audit.commit": "attest.turn",
        "chat chatglm3": "attest.turn",
    }
    assert model.headers is not None
    sent = model.headers["traceparent"].split("-")
    assert sent[2] == spans["chat chatglm3"].span_id.hex()
    assert int(sent[3], 16) & 1, "the inference tier is told that this trace is kept"


async def test_names_are_those_of_the_conventions(receiver: Receiver) -> None:
    telemetry = Telemetry({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.url + "/own/address"})
    await run_turn(telemetry, ScriptedModel(Delta("x"), Delta("", FinishReason.STOP, Usage(7, 3))))
    await telemetry.aclose()
    assert set(receiver.paths) == {"/own/address"}
    spans = receiver.spans()
    chat = attributes(spans["chat chatglm3"])
    assert spans["chat chatglm3"].kind == Span.SPAN_KIND_CLIENT
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.request.temperature"] == 0.5
    assert (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]) == (7, 3)
    assert "gen_ai.response.finish_reasons" in chat
    turn = attributes(spans["attest.turn"])
    assert (turn["gen_ai.conversation.id"], turn["attest.turn.outcome"]) == ("c-1", "completed")
    (verdict,) = spans["attest.guard input"].events
    assert verdict.name == "attest.guard.verdict"
    assert attributes(spans["POST /v1/chat/completions"])["http.response.status_code"] == 200
    resource = receiver.messages()[0].resource_spans[0].resource
    names = {item.key: item.value.string_value for item in resource.attributes}
    assert names["service.name"] == "attest-gateway"


async def test_content_never_leaves_not_even_in_an_error(receiver: Receiver) -> None:
    telemetry = Telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    with pytest.raises(InferenceError):
        await run_turn(telemetry, ScriptedModel(Delta(MARKER), error=InferenceError(MARKER)))
    await telemetry.aclose()
    spans = receiver.spans()
    assert attributes(spans["chat chatglm3"])["error.type"] == "InferenceError"
    assert spans["attest.turn"].status.code == Status.STATUS_CODE_ERROR
    assert not any(MARKER.encode() in body for body in receiver.bodies)


async def test_nothing_is_sent_when_the_exporter_is_none(receiver: Receiver) -> None:
    telemetry = Telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_TRACES_EXPORTER": "none"})
    await run_turn(telemetry, ScriptedModel(Delta("x")))
    await telemetry.aclose()
    assert receiver.bodies == []


async def test_a_collector_that_is_gone_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    telemetry = Telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    await run_turn(telemetry, ScriptedModel(Delta("x")))
    assert b"attest_turns_total" in telemetry.render()
    await telemetry.aclose()
