"""`attest inference` as its own process: start, answers, bad input, vanishing clients, stop."""

import concurrent.futures
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from inference.serving import bind
from tests.integration.inference.tier import Tier, head_of
from tests.rig.process import stop, wait_for
from tests.unit.inference import tiny

MARKER = "xylophon-7731"


@pytest.fixture(scope="module")
def tier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("process")
    tiny.build(folder / "tiny")
    found = Tier("--model", str(folder / "tiny"), "--slots", "4", "--queue", "8", log=folder / "log")
    try:
        wait_for(found.ready, found.process, 120, "attest inference")
        yield found
    finally:
        stop(found.process)


def test_the_official_client_streamed_and_not(tier):
    with tier.client() as client:
        (model,) = client.models.list().data
        assert model.id == "tiny"
        messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "你好"}]
        fixed = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 12}
        whole = client.chat.completions.create(**fixed)
        assert whole.usage.completion_tokens == 12
        assert whole.choices[0].finish_reason == "length"
        with client.chat.completions.create(**fixed, stream=True, stream_options={"include_usage": True}) as stream:
            chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        whole.choices[0].message.content
    )
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done_and_has_usage_only_when_asked(tier):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": True}
    request = urllib.request.Request(
        f"{tier.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = [line[6:] for line in response.read().split(b"\n") if line.startswith(b"data: ")]
    assert events[-1] == b"[DONE]"
    assert all(json.loads(event)["choices"] for event in events[:-1])


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "nobody", "stream": True}, 404, "model_not_found", "model"),
        ({"temperature": 9}, 400, "invalid_value", "temperature"),
        ({"n": 3}, 400, "unsupported_parameter", "n"),
        ({"zzz": 3}, 400, "unknown_parameter", "zzz"),
        ({"content": "\ud800"}, 400, "invalid_json", None),
        ({"content": "\0"}, 400, "invalid_value", "messages[0].content"),
        ({"content": "x" * 1_000_000}, 400, "context_length_exceeded", "messages"),
        ({"content": "你" * 1_000_000, "stream": True}, 400, "context_length_exceeded", "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 2001}, 400, "invalid_value", "messages"),
    ],
)
def test_bad_requests_get_openai_errors(tier, fields, status, code, param):
    got, body = tier.chat(**fields)
    assert (got, body["error"]["code"], body["error"]["param"]) == (status, code, param)
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    [
        ("POST", "/v1/chat/completions", b"", "application/json", 400),
        ("POST", "/v1/chat/completions", b"{", "application/json", 400),
        ("POST", "/v1/chat/completions", b"\xff\xfe", "application/json", 400),
        ("POST", "/v1/chat/completions", b"[" * 500_000, "application/json", 400),
        ("POST", "/v1/chat/completions", b"{}", "text/plain", 415),
        ("GET", "/v1/chat/completions", None, "application/json", 405),
        ("GET", "/nothing", None, "application/json", 404),
        ("POST", "/v1/models", b"{}", "application/json", 405),
    ],
)
def test_bad_calls_get_openai_errors(tier, method, path, body, content_type, status):
    got, answer = tier.send(method, path, body, Content_Type=content_type)
    assert got == status
    assert answer["error"]["message"]


def test_a_body_too_large_is_refused_before_it_is_sent(tier):
    with socket.create_connection(("127.0.0.1", tier.port), timeout=20) as client:
        client.sendall(head_of(9 * 2**20))
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_clients_that_vanish_free_their_places(tier):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 240}
    for stream in (True, False):
        raw = json.dumps(body | {"stream": stream}).encode()
        for _ in range(12):
            with socket.create_connection(("127.0.0.1", tier.port)) as client:
                client.sendall(head_of(len(raw)) + raw)
        with socket.create_connection(("127.0.0.1", tier.port)) as client:
            client.sendall(head_of(len(raw)) + raw[:10])

    def idle():
        load = tier.send("GET", "/health")[1]
        return load["running"] == load["waiting"] == 0

    wait_for(lambda: tier.chat()[0] == 200, tier.process, 20, "a free place")
    wait_for(idle, tier.process, 20, "an idle engine")


def test_more_clients_than_places_get_answers_or_503(tier):
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        results = list(pool.map(lambda place: tier.chat(f"number {place}", max_tokens=60), range(40)))
    assert {status for status, _ in results} == {200, 503}
    assert all(body["error"]["code"] == "overloaded" for status, body in results if status == 503)
    assert tier.chat()[0] == 200


def test_the_trace_is_logged_by_id_and_content_never(tier):
    trace = "0af7651916cd43dd8448eb211c80319c"
    body = {"model": "tiny", "messages": [{"role": "user", "content": MARKER}], "max_tokens": 3}
    raw = json.dumps(body).encode()
    assert tier.send("POST", "/v1/chat/completions", raw, traceparent=f"00-{trace}-b7ad6b7169203331-01")[0] == 200
    assert tier.send("POST", "/v1/chat/completions", raw, traceparent=f"{MARKER}")[0] == 200
    assert tier.chat(**{MARKER: 1})[0] == 400
    assert tier.chat(model=MARKER)[0] == 404
    lines = [json.loads(line) for line in tier.log.read_text().splitlines()]
    assert any(line.get("trace_id") == trace and line["prompt_tokens"] > 3 for line in lines)
    assert MARKER not in tier.log.read_text()
    assert {line["log.level"] for line in lines} == {"info"}


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_scripted_tier_stops_within_two_seconds_while_it_streams(tmp_path, sign):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"default": {"text": "x" * 1000, "chunk": 1, "delay_ms": 50}}))
    found = Tier("--engine", "scripted", "--script", str(script), log=tmp_path / "log")
    try:
        wait_for(found.ready, found.process, 60, "the scripted tier")
        with found.client() as client:
            messages = [{"role": "user", "content": "x"}]
            stream = client.chat.completions.create(model="scripted", messages=messages, stream=True)
            next(iter(stream))
            started = time.monotonic()
            found.process.send_signal(sign)
            assert found.process.wait(10) == 0
            assert time.monotonic() - started < 2
            stream.close()
    finally:
        stop(found.process)


def test_a_real_tier_stops_within_two_seconds_while_it_streams(tmp_path):
    tiny.build(tmp_path / "tiny")
    found = Tier(log=tmp_path / "log", ATTEST_MODEL_DIR=str(tmp_path / "tiny"))
    try:
        wait_for(found.ready, found.process, 120, "attest inference")
        with found.client() as client:
            messages = [{"role": "user", "content": "x"}]
            stream = client.chat.completions.create(model="tiny", messages=messages, stream=True, max_tokens=240)
            next(iter(stream))
            started = time.monotonic()
            found.process.send_signal(signal.SIGTERM)
            assert found.process.wait(10) == 0
            assert time.monotonic() - started < 2
            stream.close()
    finally:
        stop(found.process)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nowhere"], "nowhere is not a folder"),
        (["--model", "."], "config.json is missing"),
        (["--registry", "nowhere"], "nowhere is no registry"),
        (["--registry", "nowhere", "--model", "."], "exclude each other"),
        (["--upstream", "http://vllm:8000/v1"], "--upstream is for --engine vllm only"),
        (["--engine", "vllm", "--dtype", "float32"], "--dtype is for --engine torch only"),
        (["--warm", "1"], "--warm is for --registry only"),
        (["--engine", "scripted", "--model", "m"], "--model is for --engine torch or vllm only"),
        (["--engine", "scripted", "--script", "nowhere.json"], "nowhere.json cannot be read"),
        (["--engine", "magic"], "magic"),
    ],
)
def test_what_cannot_be_served_is_refused_at_start(tmp_path, arguments, said):
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "inference", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "inference", "--model=nowhere", f"--port={taken_port}"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{taken_port}: Address already in use.\n" in done.stderr


def test_small_answers_do_not_wait_for_an_acknowledgement():
    """Without it each streamed answer over a kept connection took 45 ms instead of 1."""
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        with socket.create_connection(bound.getsockname()), bound.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
