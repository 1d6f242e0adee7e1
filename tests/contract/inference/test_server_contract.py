"""The server over engines of this process: exact token ids, tools, the overflow policy, metrics, trace context."""

import asyncio
import contextlib
import json
from pathlib import Path

import aiohttp
import numpy as np
import openai
import pytest

from inference.chatglm3.loader import load
from inference.engine.sampling import Sampler
from inference.engine.scripted import ScriptedEngine
from inference.engine.torch_engine import Limits, TorchEngine
from inference.engine.vllm_engine import Upstream, VllmEngine
from inference.engines import OneEngine
from inference.telemetry import Telemetry
from tests.contract.inference.conftest import SCRIPT, serving, vllm_server
from tests.rig.ports import free_port
from tests.unit.inference import tiny
from tests.unit.inference.reference import reference

USER = {"role": "user", "content": "weather"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def post(url, path, **body):
    async with aiohttp.ClientSession() as session, session.post(f"{url}{path}", json=body) as response:
        return response.status, await response.json()


async def events(url, path, **body):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}{path}", json=body | {"stream": True}) as response,
    ):
        assert response.status == 200, await response.text()
        raw = await response.read()
    found = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    assert found[-1] == b"[DONE]"
    return [json.loads(event) for event in found[:-1]]


@pytest.fixture
async def tiny_server(checkpoint):
    engine = TorchEngine(checkpoint, "tiny", Limits(places=4, queue=4))
    async with serving(engine) as url:
        yield url


@pytest.mark.parametrize("name", ["tiny", "tiny-32k"])
async def test_greedy_tokens_through_the_server_are_the_published_ones(name):
    """Token ids in, token ids out, both rows at once; the folder has no tokenizer."""
    folder = reference(name)
    expected = np.load(folder / "reference.npz")
    engine = TorchEngine(load(folder, "float32", tokenizer_needed=False), name, chunk=40)
    fields = {"model": name, "temperature": 0, "max_tokens": 25, "ignore_eos": True, "return_token_ids": True}
    async with serving(engine) as url:
        rows = [row.tolist() for row in expected["input_ids"]]
        answers = await asyncio.gather(*(post(url, "/completions", prompt=row, **fields) for row in rows))
        streamed = await events(url, "/completions", prompt=rows[0], **fields)
        refused = await post(url, "/chat/completions", model=name, messages=[USER])
        text = await post(url, "/completions", model=name, prompt="text")
        beyond = await post(url, "/completions", model=name, prompt=[10**6])
        stop = await post(url, "/completions", model=name, prompt=[5], stop="x")
    for row, greedy, (status, answer) in zip(rows, expected["greedy"].tolist(), answers, strict=True):
        assert status == 200
        (choice,) = answer["choices"]
        assert (choice["token_ids"], choice["prompt_token_ids"], choice["text"]) == (greedy, row, "")
        assert choice["finish_reason"] == "length"
        assert answer["usage"] == {"prompt_tokens": 96, "completion_tokens": 25, "total_tokens": 121}
    choices = [event["choices"][0] for event in streamed]
    assert [index for choice in choices for index in choice.get("token_ids", ())] == expected["greedy"][0].tolist()
    assert [choice["prompt_token_ids"] for choice in choices if "prompt_token_ids" in choice] == [rows[0]]
    assert choices[-1]["finish_reason"] == "length"
    assert [(status, body["error"]["code"]) for status, body in (refused, text)] == [(400, "no_tokenizer")] * 2
    assert (beyond[0], beyond[1]["error"]["param"]) == (400, "prompt")
    assert (stop[0], stop[1]["error"]["code"], stop[1]["error"]["param"]) == (400, "no_tokenizer", "stop")


async def test_a_completion_continues_a_text(tiny_server, checkpoint):
    async with openai.AsyncOpenAI(base_url=tiny_server, api_key="none", max_retries=0) as client:
        fixed = {"model": "tiny", "prompt": "The quick brown", "max_tokens": 8, "temperature": 0}
        whole = await client.completions.create(**fixed)
        stream = await client.completions.create(**fixed, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    special = checkpoint.tokenizer.specials
    ids = [special.gmask, special.sop, *checkpoint.tokenizer.encode("The quick brown")]
    assert whole.usage.prompt_tokens == len(ids)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    status, same = await post(tiny_server, "/completions", **fixed | {"prompt": ids})
    assert (status, same["choices"][0]["text"]) == (200, whole.choices[0].text)
    assert "token_ids" not in same["choices"][0]


async def test_ignore_eos_goes_on_through_stop_ids(tiny_server, checkpoint, monkeypatch):
    special = checkpoint.tokenizer.specials
    monkeypatch.setattr(Sampler, "choose", lambda *_: special.eos)
    fields = {"model": "tiny", "prompt": [5, 6], "max_tokens": 4, "return_token_ids": True}
    _, stopped = await post(tiny_server, "/completions", **fields)
    _, ignored = await post(tiny_server, "/completions", **fields, ignore_eos=True)
    assert (stopped["choices"][0]["token_ids"], stopped["choices"][0]["finish_reason"]) == ([special.eos], "stop")
    assert (ignored["choices"][0]["token_ids"], ignored["choices"][0]["finish_reason"]) == ([special.eos] * 4, "length")
    assert ignored["choices"][0]["text"] == ""


@pytest.mark.parametrize(
    ("prompt", "code"),
    [("fox " * 4000, "context_length_exceeded"), ([5] * 1024, "context_length_exceeded"), ("\u20ac" * 150_000, None)],
)
async def test_a_completion_that_does_not_fit_is_refused(tiny_server, prompt, code):
    status, body = await post(tiny_server, "/completions", model="tiny", prompt=prompt)
    assert status == 400
    assert body["error"]["param"] == "prompt"
    assert code is None or body["error"]["code"] == code


async def test_tools_by_the_official_client():
    async with (
        serving(ScriptedEngine(SCRIPT)) as url,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        asked = {"model": "tiny", "messages": [USER], "tools": [TOOL]}
        whole = await client.chat.completions.create(**asked)
        stream = await client.chat.completions.create(**asked, stream=True)
        pieces = [chunk async for chunk in stream]
        (call,) = whole.choices[0].message.tool_calls
        said = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
        messages = [USER, whole.choices[0].message.model_dump(exclude_none=True), said]
        then = await client.chat.completions.create(**asked | {"messages": messages})
        plain = await client.chat.completions.create(**asked | {"tools": []})
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "上海", "days": 2})
    assert whole.choices[0].finish_reason == "tool_calls"
    streamed = [call for chunk in pieces for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(one.index, one.function.name) for one in streamed] == [(0, "get_weather")]
    assert pieces[-1].choices[0].finish_reason == "tool_calls"
    assert then.choices[0].message.content
    assert plain.choices[0].message.tool_calls is None


async def test_a_long_dialogue_is_refused_or_its_oldest_turns_are_left_out(tiny_server):
    messages = [{"role": "user", "content": "fox " * 300}, {"role": "assistant", "content": "dog"}] * 8 + [USER]
    asked = {"model": "tiny", "messages": messages, "max_tokens": 4}
    refused = await post(tiny_server, "/chat/completions", **asked)
    status, answer = await post(tiny_server, "/chat/completions", **asked, truncation="auto")
    streamed = await events(tiny_server, "/chat/completions", **asked, truncation="auto")
    assert (refused[0], refused[1]["error"]["code"]) == (400, "context_length_exceeded")
    assert status == 200
    assert answer["attest"]["left_out"] == streamed[-1]["attest"]["left_out"] > 0
    assert answer["usage"]["prompt_tokens"] < 1024
    _, fits = await post(tiny_server, "/chat/completions", **asked | {"messages": [USER]}, truncation="auto")
    assert "attest" not in fits


async def test_metrics_by_model_version(tiny_server):
    asked = {"model": "tiny", "messages": [USER], "temperature": 0}  # a sampled answer may end before its fifth token
    assert (await post(tiny_server, "/chat/completions", **asked, max_tokens=5))[0] == 200
    await events(tiny_server, "/completions", model="tiny", prompt=[5, 6], max_tokens=5, ignore_eos=True)
    assert (await post(tiny_server, "/chat/completions", model="nobody", messages=[USER]))[0] == 404
    async with aiohttp.ClientSession() as session:
        async with session.get(tiny_server.removesuffix("/v1") + "/metrics") as response:
            text = await response.text()
        async with session.get(tiny_server + "/models") as response:
            revision = (await response.json())["data"][0]["revision"]
    model = f'attest_model_revision="{revision}",gen_ai_response_model="tiny"'
    by_request = f'attest_model_revision="{revision}",gen_ai_operation_name="chat",gen_ai_response_model="tiny"'
    lines = text.splitlines()
    assert f"attest_inference_queue_seconds_count{{{by_request}}} 1.0" in lines
    assert f"gen_ai_server_time_to_first_token_seconds_count{{{by_request}}} 1.0" in lines
    assert f"gen_ai_server_time_per_output_token_seconds_count{{{by_request}}} 1.0" in lines
    assert f'attest_inference_tokens_sum{{{by_request},gen_ai_token_type="output"}} 5.0' in lines
    assert f"attest_inference_decode_rows_total{{{model}}} 8.0" in lines
    assert f"attest_inference_running{{{model}}} 0.0" in lines
    assert 'attest_inference_refused_total{code="model_not_found"} 1.0' in lines


class Collector:
    """A real OTLP endpoint over HTTP that keeps the bodies it gets."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        self.bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def test_the_callers_trace_is_continued(monkeypatch):
    collector = Collector()
    server = await asyncio.start_server(collector, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    async with server:
        async with serving(ScriptedEngine(SCRIPT)) as url, aiohttp.ClientSession(headers=headers) as session:
            body = {"model": "tiny", "messages": [{"role": "user", "content": "marker-of-content"}]}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                assert response.status == 200
        sent = b"".join(collector.bodies)
    assert bytes.fromhex(TRACE) in sent
    assert bytes.fromhex("b7ad6b7169203331") in sent, "the caller's span is the parent"
    assert b"chat tiny" in sent
    assert b"attest.model.revision" in sent
    assert b"marker-of-content" not in sent


@contextlib.asynccontextmanager
async def vllm_tier(checkpoint, tmp_path):
    """Run a tier in front of a vLLM server; yield its address, and the headers that this server gets."""
    seen = []
    async with vllm_server(TorchEngine(checkpoint, "tiny", Limits(places=4, queue=4)), seen) as upstream:
        folder = tiny.build(tmp_path / "tiny", context=checkpoint.published.seq_length)
        async with serving(VllmEngine(Upstream(upstream, "model"), folder)) as url:
            yield url, seen


@pytest.mark.parametrize("exported", [True, False])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
async def test_the_trace_goes_on_to_vllm(path, exported, checkpoint, tmp_path, monkeypatch):
    """With the tier's own span as the parent where there is one, else as the caller sent it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}" if exported else "")
    caller = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "x=1"}
    body = {"model": "tiny", "max_tokens": 2}
    body |= {"messages": [USER]} if path.startswith("/chat") else {"prompt": [5, 6]}
    async with vllm_tier(checkpoint, tmp_path) as (url, seen), aiohttp.ClientSession() as session:
        for headers in (caller, {"traceparent": "nonsense", "tracestate": "x=1"}):
            async with session.post(url + path, json=body, headers=headers) as response:
                assert response.status == 200
    sent = [(one.get("traceparent", ""), one.get("tracestate", "")) for one in seen]
    if exported:
        assert sent[0][0].startswith(f"00-{TRACE}-")
        assert sent[0][0] != caller["traceparent"]
        assert sent[0][1] == "x=1"
        assert TRACE not in sent[1][0]
    else:
        assert sent == [(caller["traceparent"], "x=1"), ("", "")]


async def test_what_is_known_of_vllm_is_counted_and_what_is_not_is_absent(checkpoint, tmp_path):
    async with vllm_tier(checkpoint, tmp_path) as (url, _), aiohttp.ClientSession() as session:
        *_, last = await events(url, "/completions", model="tiny", prompt=[5, 6, 7], max_tokens=5, ignore_eos=True)
        assert last["choices"][0]["finish_reason"] == "length"
        async with session.get(url.removesuffix("/v1") + "/metrics") as response:
            lines = (await response.text()).splitlines()
        async with session.get(url.removesuffix("/v1") + "/health") as response:
            health = await response.json()
    values = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if "{" in line}
    for name in ("gen_ai_server_time_to_first_token_seconds", "gen_ai_server_time_per_output_token_seconds"):
        assert values[f"{name}_count"] == 1
        assert 0 < values[f"{name}_sum"] < 60
    tokens = {line.rpartition(" ")[2] for line in lines if line.startswith("attest_inference_tokens_sum")}
    assert tokens == {"3.0", "5.0"}
    assert values["attest_inference_decode_rows_total"] == 5
    assert values["attest_inference_prompt_tokens_total"] == 3
    unknown = {"waiting", "restarts_total", "cache_tokens", "cache_limit_tokens", "decode_steps_total"}
    assert not {f"attest_inference_{name}" for name in (*unknown, "queue_seconds_count")} & values.keys()
    assert set(health) == {"ready", "running", "places", "decode_rows", "prompt_tokens"}


async def test_a_vllm_that_does_not_answer_is_named(tmp_path, caplog):
    caplog.set_level("INFO", "attest.inference.engine")
    engine = VllmEngine(Upstream(f"http://127.0.0.1:{free_port()}/v1", "model"), tiny.build(tmp_path / "tiny"))
    async with serving(engine) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/models") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
            assert "vLLM does not answer" in (await response.json())["error"]["message"]
        async with session.get(f"{url.removesuffix('/v1')}/health") as response:
            assert response.status == 503
    assert [record.message for record in caplog.records] == ["vLLM does not answer"]


@pytest.mark.parametrize("name", ["inference.md", "inference.zh-CN.md"])
def test_every_metric_is_documented_as_it_is_scraped(name):
    telemetry = Telemetry(OneEngine(ScriptedEngine(SCRIPT)))
    described = (Path(__file__).parents[3] / "docs" / name).read_text()
    found = [metric for metric in telemetry.registry.collect() if not metric.name.startswith("process_")]
    names = {metric.name + ("_total" if metric.type == "counter" else "") for metric in found}
    assert len(names) > 12
    assert not [name for name in names if f"`{name}`" not in described]
