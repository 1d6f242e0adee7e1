"""SIGKILL at any moment of a stream: every text that a client received stands in a durable record."""

import json
import random
import threading
import time
import urllib.error
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.integration.client import named_events, post
from tests.rig.product import Product, eventually, running_product
from tests.scripts import SCRIPT

KILLS = 25
STREAMS = 2
"""Streams that run at each kill, begun apart: fifty random moments in all."""


class Reader(threading.Thread):
    """One client of a stream; keeps what it received, whatever becomes of the connection."""

    def __init__(self, product: Product, wait_s: float) -> None:
        super().__init__(daemon=True)
        self.product, self.wait_s = product, wait_s
        self.turn_id, self.text, self.error, self.ended = "", "", "", False

    def run(self) -> None:
        time.sleep(self.wait_s)
        body = {"messages": [{"role": "user", "content": "SLOW please"}], "stream": True}
        try:
            with post(self.product, "/v1/chat/completions", body, timeout=30) as answer:
                for _, event in named_events(answer):
                    self._take(event)
        except (OSError, HTTPException, ValueError):
            return

    def _take(self, event: str) -> None:
        if event == "[DONE]":
            self.ended = True
            return
        chunk = json.loads(event)
        if "error" in chunk:
            self.error = chunk["error"]["code"]
            return
        self.turn_id = chunk["id"].removeprefix("chatcmpl-")
        self.text += chunk["choices"][0]["delta"].get("content") or ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_client_received_is_in_a_durable_record(tmp_path: Path):
    dice = random.Random(20261120)
    received: list[Reader] = []
    with running_product(tmp_path, SCRIPT) as product:
        product.token("alice")
        for _ in range(KILLS):
            readers = [Reader(product, dice.uniform(0, 0.3)) for _ in range(STREAMS)]
            for reader in readers:
                reader.start()
            time.sleep(dice.uniform(0.05, 1.2))
            product.kill_gateway()
            for reader in readers:
                reader.join(30)
            received += readers
            product.start_gateway()
        turns = {
            turn["turn_id"]: turn for turn in json.loads(product.attest("audit", "list", "--limit", "500", "--json"))
        }
        assert all(turn["closing_kind"] for turn in turns.values())
        started = [reader for reader in received if reader.turn_id]
        assert len(started) >= KILLS // 2
        assert any(reader.text for reader in started)
        trails = product.trails([reader.turn_id for reader in started])
        assert len(trails) == len(started)
        for reader, trail in zip(started, trails, strict=True):
            assert trail.delivered.startswith(reader.text)
            assert turns[reader.turn_id]["closing_kind"] in {"turn.interrupted", "turn.completed"}
        assert sound(product)


@pytest.mark.slow
def test_a_client_that_goes_away_is_recorded_with_what_it_was_sent(product: Product):
    reader = Reader(product, 0)
    body = {"messages": [{"role": "user", "content": "SLOW please"}], "stream": True}
    with post(product, "/v1/chat/completions", body) as answer:
        for _, event in named_events(answer):
            reader._take(event)
            if reader.text:
                break
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        shown = product.show(reader.turn_id)
        if shown["records"][-1]["kind"] != "turn.released":
            break
        time.sleep(0.2)
    assert shown["records"][-1]["kind"] == "turn.aborted"
    assert shown["records"][-1]["reason"] == "client_gone"
    assert str(shown["delivered"]).startswith(reader.text)
    assert sound(product)


@pytest.mark.slow
def test_the_model_dies_mid_stream(tmp_path: Path):
    with running_product(tmp_path, SCRIPT) as product:
        reader = Reader(product, 0)
        product.token("alice")
        reader.start()
        assert eventually(lambda: reader.text)
        assert product.inference is not None
        product.inference.kill()
        product.inference.wait(10)
        reader.join(30)
        shown = product.show(reader.turn_id)
        assert (shown["records"][-1]["kind"], shown["records"][-1]["reason"]) == ("turn.aborted", "model_failed")
        assert shown["delivered"] == reader.text
        assert reader.error == "inference-unavailable"
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(product, "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
        with refused.value:
            assert refused.value.code == 503
        assert sound(product)


def sound(product: Product) -> bool:
    """Whether the check of the whole log finds nothing wrong, and every record has its place."""
    product.attest("audit", "checkpoint")
    checked = json.loads(product.attest("audit", "fsck", "--json"))
    return bool(checked["ok"] and checked["counts"]["unsequenced"] == 0)
