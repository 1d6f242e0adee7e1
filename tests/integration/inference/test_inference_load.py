"""Many clients, clients that stop reading, and requests that are too large: the others go on."""

import concurrent.futures
import json
import re
import socket
import time
import urllib.request

import psutil
import pytest

from tests.integration.inference.tier import Tier, head_of
from tests.rig.process import stop, wait_for
from tests.unit.inference import tiny

STREAMS = 200


@pytest.fixture(scope="module")
def tier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    tiny.build(folder / "tiny")
    found = Tier("--model", str(folder / "tiny"), "--slots", "8", "--queue", str(STREAMS), log=folder / "log")
    try:
        wait_for(found.ready, found.process, 120, "attest inference")
        yield found
    finally:
        stop(found.process)


def streamed(tier, content, tokens):
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": tokens}
    raw = json.dumps(body | {"stream": True, "temperature": 0}).encode()
    request = urllib.request.Request(f"{tier.url}/v1/chat/completions", raw, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        events = [line[6:].strip() for line in response if line.startswith(b"data: ")]
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_two_hundred_streams_at_once_get_the_answers_that_they_get_alone(tier):
    alone = {place: streamed(tier, f"number {place}", 8) for place in range(5)}
    before = psutil.Process(tier.process.pid).memory_info().rss
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        answers = list(pool.map(lambda place: streamed(tier, f"number {place}", 8), range(STREAMS)))
    assert all(answers)
    assert {place: answers[place] for place in alone} == alone
    assert psutil.Process(tier.process.pid).memory_info().rss - before < 200 * 2**20


def test_clients_that_stop_reading_hold_no_place(tier):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 240, "stream": True}
    raw = json.dumps(body).encode()
    stalled = []
    try:
        for _ in range(16):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect(("127.0.0.1", tier.port))
            client.sendall(head_of(len(raw)) + raw)
            stalled.append(client)
        assert tier.chat(max_tokens=4)[0] == 200
        wait_for(lambda: tier.send("GET", "/health")[1]["running"] == 0, tier.process, 30, "an idle engine")
    finally:
        for client in stalled:
            client.close()


def test_requests_too_large_are_refused_while_another_streams(tier):
    with tier.client() as client:
        stream = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=200, stream=True
        )
        next(iter(stream))
        began = time.monotonic()
        for content in ("x" * 1_000_000, "\u4f60" * 1_000_000, "fox " * 200_000):
            status, answer = tier.chat(content)
            assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert time.monotonic() - began < 20
        assert sum(1 for _ in stream) > 0
    assert tier.send("GET", "/health")[1]["restarts"] == 0


def test_metrics_of_the_process(tier):
    with urllib.request.urlopen(f"{tier.url}/metrics", timeout=20) as response:
        text = response.read().decode()
    rows, steps = (
        float(re.search(rf"attest_inference_decode_{name}_total{{[^}}]*}} ([\d.e+]+)", text)[1])
        for name in ("rows", "steps")
    )
    assert rows / steps > 2, "requests were decoded together"
