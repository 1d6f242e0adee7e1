"""Trace ids, metrics and their cost, without any exporter."""

import time

import pytest
from opentelemetry.trace import get_current_span

from gateway.measured import MeasuredModel, MeasuredSafety
from gateway.problems import RateLimitedError
from gateway.telemetry import MOST_MODELS, Telemetry
from gateway.turn_events import Outcome, TurnEnded
from inference.ports import ChatRequest, Delta, FinishReason, InferenceError, Message, Role, Usage
from safety.ports import Direction, TurnContext
from tests.unit.telemetry.values import MARKER, ScriptedModel, ScriptedSafety, turn_request

REQUEST = ChatRequest("chatglm3", (Message(Role.USER, MARKER),))


def lines(telemetry: Telemetry) -> list[str]:
    return [line for line in telemetry.render().decode().splitlines() if not line.startswith("#")]


async def test_without_an_endpoint_ids_are_real_and_passed_on() -> None:
    telemetry = Telemetry({})
    assert telemetry.trace_id() == ""
    with telemetry.turn(turn_request()):
        first = telemetry.trace_id()
        assert len(first) == 32
        assert int(first, 16) > 0
        version, trace, span, flags = telemetry.headers()["traceparent"].split("-")
        assert (version, trace, flags) == ("00", first, "02") or (version, trace, flags) == ("00", first, "00")
        assert int(span, 16) > 0
        with telemetry.stage("input"):
            assert telemetry.trace_id() == first
    with telemetry.turn(turn_request()):
        assert telemetry.trace_id() != first
    await telemetry.aclose()


async def test_a_turn_is_counted_by_its_outcome() -> None:
    telemetry = Telemetry({})
    with telemetry.turn(turn_request()) as span:
        span.ended(TurnEnded(turn_id="t", outcome=Outcome.BLOCKED, reason="input_blocked", duration_ms=120))
    labels = 'outcome="blocked",reason="input_blocked",streamed="true",surface="api"'
    assert f"attest_turns_total{{{labels}}} 1.0" in lines(telemetry)
    assert 'attest_turn_seconds_sum{outcome="blocked"} 0.12' in lines(telemetry)


async def test_a_stage_that_fails_is_not_counted_as_run() -> None:
    telemetry = Telemetry({})
    with telemetry.stage("input"):
        pass
    with pytest.raises(KeyError), telemetry.stage("input"):
        raise KeyError
    with pytest.raises(KeyError), telemetry.audit_commit():
        raise KeyError
    found = lines(telemetry)
    assert 'attest_stage_seconds_count{stage="input",status="ran"} 1.0' in found
    assert 'attest_stage_seconds_count{stage="input",status="error"} 1.0' in found
    assert 'attest_audit_commit_seconds_count{status="error"} 1.0' in found


async def test_every_guard_is_timed_by_its_status() -> None:
    telemetry = Telemetry({})
    safety = MeasuredSafety(ScriptedSafety(), telemetry)
    assert (safety.policy_hash, safety.classifier_hash) == ("policy-hash", "classifier-hash")
    assert (await safety.examine(MARKER, TurnContext(Direction.INPUT))).blocked
    found = lines(telemetry)
    assert 'attest_stage_seconds_count{stage="input.filters",status="ran"} 1.0' in found
    assert 'attest_stage_seconds_sum{stage="input.classifier",status="timed_out"} 5.0' in found
    assert 'attest_decisions_total{action="block",direction="input"} 1.0' in found
    assert 'attest_guard_findings_total{action="block",category="violence",direction="input"} 1.0' in found


async def test_a_request_to_the_model_has_the_conventions_metrics() -> None:
    telemetry = Telemetry({})
    inner = ScriptedModel(Delta("one"), Delta(" two"), Delta("", FinishReason.STOP, Usage(7, 3)))
    with telemetry.turn(turn_request()):
        trace = telemetry.trace_id()
        answer = [delta.text async for delta in MeasuredModel(inner, telemetry).stream(REQUEST, {"x-own": "kept"})]
    assert answer == ["one", " two", ""]
    assert inner.headers is not None
    assert inner.headers["x-own"] == "kept"
    assert inner.headers["traceparent"].split("-")[1] == trace
    labels = 'gen_ai_operation_name="chat",gen_ai_provider_name="attest",gen_ai_request_model="chatglm3"'
    found = lines(telemetry)
    assert f'gen_ai_client_operation_duration_seconds_count{{error_type="",{labels}}} 1.0' in found
    assert f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="input"}} 7.0' in found
    assert f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output"}} 3.0' in found
    assert f"gen_ai_server_time_to_first_token_seconds_count{{{labels}}} 1.0" in found
    assert f"gen_ai_server_time_per_output_token_seconds_count{{{labels}}} 1.0" in found


async def test_a_model_that_fails_is_counted_by_the_errors_class() -> None:
    telemetry = Telemetry({})
    model = MeasuredModel(ScriptedModel(Delta("one"), error=InferenceError(MARKER)), telemetry)
    with pytest.raises(InferenceError):
        _ = [delta async for delta in model.stream(REQUEST)]
    assert any('error_type="InferenceError"' in line for line in lines(telemetry))
    assert MARKER not in telemetry.render().decode()


async def test_closing_the_stream_closes_the_models_and_is_no_error() -> None:
    telemetry, inner = Telemetry({}), ScriptedModel(*[Delta("x")] * 10)
    stream = MeasuredModel(inner, telemetry).stream(REQUEST)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert inner.closed
    assert any('duration_seconds_count{error_type=""' in line for line in lines(telemetry))


async def test_model_names_cannot_grow_the_metrics_without_bound() -> None:
    telemetry = Telemetry({})
    model = MeasuredModel(ScriptedModel(Delta("x")), telemetry)
    for number in range(MOST_MODELS * 3):
        _ = [delta async for delta in model.stream(ChatRequest(f"model-{number}", ()))]
    names = {line for line in lines(telemetry) if line.startswith("gen_ai_client_operation_duration_seconds_count")}
    assert len(names) == MOST_MODELS + 1


async def test_gauges_follow_admission_and_counters_their_calls() -> None:
    telemetry = Telemetry({})
    telemetry.watch(lambda: 3, lambda: 2)
    telemetry.refused(RateLimitedError.code)
    telemetry.limiter_failed()
    telemetry.fault("turn", ValueError(MARKER))
    found = lines(telemetry)
    assert "attest_turns_running 3.0" in found
    assert "attest_turns_queued 2.0" in found
    assert 'attest_turns_refused_total{reason="rate-limited"} 1.0' in found
    assert "attest_limiter_failures_total 1.0" in found
    assert 'attest_faults_total{where="turn"} 1.0' in found
    assert MARKER not in telemetry.render().decode()


async def test_two_in_one_process_share_nothing() -> None:
    one, other = Telemetry({}), Telemetry({})
    one.refused("overloaded")
    assert not any("overloaded" in line for line in lines(other))


def test_without_an_endpoint_a_trace_is_its_ids_and_one_span() -> None:
    telemetry = Telemetry({})
    with telemetry.request("POST", "/v1/chat/completions"), telemetry.turn(turn_request()):
        outermost, trace = get_current_span(), telemetry.trace_id()
        with telemetry.stage("input"), telemetry.audit_commit():
            assert get_current_span() is outermost
            assert telemetry.headers()["traceparent"].split("-")[1] == trace
    assert telemetry.trace_id() == ""


async def test_the_cost_of_a_turn_is_small() -> None:
    """Everything a streamed turn with three sentences calls. Budget 0.3 ms; the median is robust on a busy machine."""
    telemetry = Telemetry({})
    model = MeasuredModel(ScriptedModel(Delta("one"), Delta("", FinishReason.STOP, Usage(7, 3))), telemetry)
    safety = MeasuredSafety(ScriptedSafety(), telemetry)
    took = []
    for _ in range(300):
        start = time.perf_counter()
        with telemetry.request("POST", "/v1/chat/completions") as answered, telemetry.turn(turn_request()) as span:
            for _ in range(4):
                await safety.examine(MARKER, TurnContext(Direction.OUTPUT))
                with telemetry.audit_commit():
                    pass
            _ = [delta async for delta in model.stream(REQUEST, telemetry.headers())]
            span.ended(TurnEnded(turn_id="t", outcome=Outcome.COMPLETED))
            answered(200)
        took.append(time.perf_counter() - start)
    assert sorted(took)[150] < 0.002, f"median {sorted(took)[150] * 1000:.3f} ms"
