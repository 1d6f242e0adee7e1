"""The client against an endpoint that misbehaves: every answer is bounded and becomes an `InferenceError`."""

import asyncio
import contextlib
import json
import time

import pytest

from inference.errors import ContextOverflowError, RequestRefusedError
from inference.openai_compat import Bounds, OpenAICompatModel
from inference.ports import ChatRequest, FinishReason, InferenceError, Message, Role

REQUEST = ChatRequest(model="m", messages=(Message(Role.USER, "a secret question"),))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BOUNDS = Bounds(silence_s=0.3, total_s=1.0, connect_s=0.5, event_bytes=20_000, answer_bytes=300_000)


def chunk(raw: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(raw), raw)


def event(**fields) -> bytes:
    return chunk(b"data: " + json.dumps(fields).encode() + b"\n\n")


def text(content: str | None, finish: str | None = None) -> bytes:
    return event(choices=[{"delta": {"content": content}, "finish_reason": finish}])


def refusal(body: bytes) -> bytes:
    return b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


DONE = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Upstream:
    """Answers each request with raw bytes; `repeat` is sent for ever after."""

    def __init__(self, first: bytes, repeat: bytes = b"", pause: float = 0.0) -> None:
        self.first, self.repeat, self.pause = first, repeat, pause
        self.connections = 0
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")
                )
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.first)
                while self.repeat:
                    writer.write(self.repeat)
                    await writer.drain()
                    await asyncio.sleep(self.pause)
                await writer.drain()
                if b"Connection: close" in self.first:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.gone.set()
            writer.close()


@contextlib.asynccontextmanager
async def client_of(upstream, bounds=BOUNDS, **options):
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = OpenAICompatModel(f"http://127.0.0.1:{port}/v1/", bounds=bounds, **options)
    try:
        yield client
    finally:
        await client.close()
        server.close()


async def answer(client, **options):
    deltas = [delta async for delta in client.stream(REQUEST, **options)]
    return "".join(delta.text for delta in deltas), deltas[-1]


NESTED = b"[" * 9_000 + b"]" * 9_000

BROKEN = {
    "huge line": (HEAD + chunk(b"data: " + b"x" * 30_000), b""),
    "endless line": (HEAD, chunk(b"x" * 1000)),
    "endless data lines": (HEAD, chunk(b"data: x\n" * 100)),
    "endless small events": (HEAD, text("x" * 100) * 50),
    "endless empty events": (HEAD, text("") * 50),
    "endless comments": (HEAD, chunk(b": ping\n\n")),
    "silence": (HEAD + text("a"), b""),
    "no JSON": (HEAD + chunk(b"data: {nonsense\n\n"), b""),
    "not UTF-8": (HEAD + chunk(b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n'), b""),
    "a lone surrogate": (HEAD + chunk(b'data: {"choices":[{"delta":{"content":"\\ud800"}}]}\n\n'), b""),
    "wrong types": (HEAD + chunk(b'data: {"choices":[{"delta":{"content":[1]}}]}\n\n'), b""),
    "absurd usage": (HEAD + event(choices=[], usage={"prompt_tokens": 10**30}), b""),
    "choices of another type": (HEAD + event(choices="none"), b""),
    "deep nesting": (HEAD + chunk(b"data: " + b"[" * 15_000 + b"\n\n"), b""),
    "deep nesting in an unknown field": (HEAD + chunk(b'data: {"x":' + NESTED + b"}\n\n"), b""),
    "deep nesting in an error": (b"HTTP/1.1 500 X\r\nContent-Length: 18006\r\n\r\n" + b'{"x":' + NESTED + b"}", b""),
    "an error in the stream": (HEAD + event(error={"message": "a secret question", "code": 5}), b""),
    "no end": (HEAD + text("a") + b"0\r\n\r\n", b""),
    "done without a reason": (HEAD + text("a") + DONE, b""),
    "cut connection": (HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + text("a")[:-5], b""),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", b""),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
    "compressed": (
        HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + chunk(b"\x1f\x8b\n\n") + DONE,
        b"",
    ),
    "a redirect": (b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", b""),
    "an endless error": (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"x" * 1000)),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_endpoint_is_bounded(name):
    upstream = Upstream(*BROKEN[name], pause=0.001)
    async with client_of(upstream) as client:
        started = time.monotonic()
        with pytest.raises(InferenceError) as caught:
            await answer(client)
        assert time.monotonic() - started < 4
        assert "secret" not in str(caught.value)
        async with asyncio.timeout(5):
            await upstream.gone.wait() if upstream.repeat else None


@pytest.mark.parametrize(
    ("raw", "kind", "retry_after"),
    [
        (b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", InferenceError, 7),
        (b"HTTP/1.1 503 X\r\nRetry-After: nonsense\r\nContent-Length: 2\r\n\r\n{}", InferenceError, 1),
        (b"HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999\r\nContent-Length: 2\r\n\r\n{}", InferenceError, 3600),
        (b"HTTP/1.1 401 X\r\nContent-Length: 2\r\n\r\n[]", InferenceError, None),
        (
            refusal(b'{"error":{"code":"Bad <b>","param":"a"}}'),
            RequestRefusedError,
            None,
        ),
        (
            refusal(b'{"error":{"code":"context_length_exceeded"}}'),
            ContextOverflowError,
            None,
        ),
    ],
)
async def test_statuses(raw, kind, retry_after):
    async with client_of(Upstream(raw)) as client:
        with pytest.raises(kind) as caught:
            await answer(client)
        assert caught.value.retry_after == retry_after
        assert "<" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "meant"), [("stop", "stop"), ("length", "length"), ("tool_calls", "stop"), ("x", "stop")]
)
async def test_reasons_and_foreign_fields(said, meant):
    usage = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4, "extra": {}}, extra=[1])
    raw = HEAD + text(None) + text("a\0") + event(choices=[{"finish_reason": said}]) + usage + DONE
    async with client_of(Upstream(raw)) as client:
        found, last = await answer(client)
    assert found == "a\ufffd"
    assert last.finish_reason is FinishReason(meant)
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 4)


async def test_connections_are_kept_and_headers_and_key_are_sent():
    upstream = Upstream(HEAD + text("a", "stop") + DONE)
    async with client_of(upstream, api_key="key-1") as client:
        for _ in range(5):
            await answer(client, headers={"traceparent": "00-1"})
    assert upstream.connections == 1
    assert all(b"traceparent: 00-1" in raw and b"Authorization: Bearer key-1" in raw for raw in upstream.requests)
    sent = json.loads(upstream.requests[0].split(b"\r\n\r\n", 1)[1])
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True}


async def test_a_connection_that_was_closed_while_idle_is_replaced():
    upstream = Upstream(HEAD.replace(b"\r\n\r\n", b"\r\nX: Connection: close\r\n\r\n") + text("a", "stop") + DONE)
    async with client_of(upstream) as client:
        for _ in range(3):
            assert (await answer(client))[0] == "a"
            await asyncio.sleep(0.02)


async def test_closing_the_stream_closes_the_connection():
    upstream = Upstream(HEAD, text("a"), pause=0.01)
    async with client_of(upstream) as client:
        stream = client.stream(REQUEST)
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(2):
            await upstream.gone.wait()


async def test_nobody_listens():
    async with client_of(Upstream(b"")) as client:
        pass
    with pytest.raises(InferenceError) as caught:
        await answer(client)
    assert caught.value.retry_after == 2
    with pytest.raises(InferenceError):
        await client.models()
    await client.close()


@pytest.mark.parametrize(
    "raw",
    [b"[]", b'{"data": 5}', b'{"data": [{"id": 5}]}', b"\xff", b'{"data": [' + b" " * 30_000, b'{"x":' + NESTED + b"}"],
)
async def test_a_broken_list_of_models(raw):
    async def upstream(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
        await writer.drain()
        writer.close()

    async with client_of(upstream) as client:
        with pytest.raises(InferenceError):
            await client.models()
