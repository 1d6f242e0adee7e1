"""Prompts are read in chunks: who waits for whom, and for how long."""

import asyncio
import time
from types import SimpleNamespace

from inference.engine import batch, slots
from inference.engine.schedule import Pace, Prompts
from inference.ports import FinishReason
from tests.unit.inference.batches import ask, request, running, until, various
from tests.unit.inference.tiny import CONTEXT


async def test_a_late_short_request_waits_for_at_most_one_chunk(tiny_checkpoint, monkeypatch):
    """While a long prompt is read, the short one that comes later gets its first token before the long one."""
    order = []
    begin = slots.Reading

    def noted(model, memory, ids):
        order.append(memory)
        time.sleep(0.01)
        return begin(model, memory, ids)

    monkeypatch.setattr(slots, "Reading", noted)
    async with running(tiny_checkpoint, chunk=8) as engine:
        long = asyncio.create_task(ask(engine, request("The quick brown fox jumps over the lazy dog. " * 4)))
        await until(lambda: len(order) > 1)
        before = len(order)
        await anext(engine.stream(request("hi", max_tokens=2)))
        after = order[before:]
        await long
    late = next(memory for memory in order if memory is not order[0])
    waited = after.index(late)
    assert waited <= 1, f"{waited} chunks of another prompt before the first of the late one"
    assert [memory is late for memory in after].count(True) <= 3


async def test_a_late_request_gets_its_place_in_the_midst_of_a_chunk(tiny_checkpoint, monkeypatch):
    """However long a chunk is: it pauses after the part of a layer that runs when the request comes."""
    order, advance = [], slots.Reading.advance

    def part(reading):
        order.append(reading)
        time.sleep(0.05)
        return advance(reading)

    monkeypatch.setattr(slots.Reading, "advance", part)
    async with running(tiny_checkpoint, chunk=CONTEXT) as engine:
        long = asyncio.create_task(ask(engine, request("The quick brown fox jumps over the lazy dog. " * 4)))
        await until(lambda: order)
        await anext(engine.stream(request("hi", max_tokens=2)))
        late = next(place for place, reading in enumerate(order) if reading is not order[0])
        parts = len(slots.Pass.PARTS) * tiny_checkpoint.model.config.num_hidden_layers
        assert late < parts, "the long chunk was not read to its end before"
        assert (await long)[1] is FinishReason.LENGTH


async def test_a_request_that_does_not_fit_yet_makes_no_chunk_pause(tiny_checkpoint, monkeypatch):
    read = batch.BatchLoop._read
    slices = []
    monkeypatch.setattr(batch.BatchLoop, "_read", lambda loop: (slices.append(loop), time.sleep(0.02), read(loop))[2])
    async with running(tiny_checkpoint, cache_tokens=100) as engine:
        first = asyncio.create_task(ask(engine, request("The quick brown fox.", max_tokens=60)))
        second = asyncio.create_task(ask(engine, request(max_tokens=60)))
        await until(lambda: len(slices) > 5)
        assert engine.load().waiting == 1
        assert engine._loop._running[0].generated >= len(slices) - 3, "the prompt took one slice"
        assert (await first)[2].completion_tokens == (await second)[2].completion_tokens == 60


def test_the_shortest_prompt_is_read_first_and_the_oldest_is_not_forgotten():
    jobs = [SimpleNamespace(unread=unread) for unread in (1000, 10, 500)]
    prompts = Prompts()
    chosen = [prompts.next(jobs) for _ in range(8)]
    assert chosen == [jobs[1], jobs[1], jobs[1], jobs[0]] * 2
    assert prompts.next([SimpleNamespace(unread=0)]) is None


async def test_those_that_decode_go_on_while_a_long_prompt_is_read(tiny_checkpoint, monkeypatch):
    """With a budget shorter than a part of a layer, between two slices of a chunk there is always a decode step."""
    order = []
    advance, step = slots.Reading.advance, slots.decode

    def part(reading):
        order.append("part")
        return advance(reading)

    monkeypatch.setattr(slots.Reading, "advance", part)
    monkeypatch.setattr(slots, "decode", lambda *given: (order.append("token"), step(*given))[1])
    monkeypatch.setattr(Pace, "budget_s", 0.0)
    async with running(tiny_checkpoint, chunk=16) as engine:
        first = asyncio.create_task(ask(engine, request(max_tokens=60)))
        await until(lambda: "token" in order)
        order.clear()
        await ask(engine, request("The quick brown fox jumps over the lazy dog. " * 3, max_tokens=2))
        await first
    parts = [place for place, what in enumerate(order) if what == "part"]
    assert len(parts) > 18
    assert all(order[place + 1] == "token" for place in parts[:-1])


def test_a_prompt_may_be_read_for_about_one_step():
    pace = Pace()
    assert 0 < pace.budget_s < 0.01
    for _ in range(30):
        pace.stepped(0.5)
    assert 0.3 < pace.budget_s <= 0.5
    pace.read(0.2)
    pace.read(0.01)
    assert pace.goes_on(0.2)
    assert not pace.goes_on(0.3), "the next part may take as long as the longest of a layer"
    for _ in range(3):
        pace.read(0.01)
    assert pace.goes_on(0.3), "what an earlier, larger chunk took is forgotten"


async def test_where_a_chunk_pauses_changes_no_answer(tiny_checkpoint, monkeypatch):
    wanted = various(6)
    async with running(tiny_checkpoint, chunk=16) as engine:
        alone = [await ask(engine, one) for one in wanted]
        monkeypatch.setattr(Pace, "budget_s", 0.0)
        together = await asyncio.gather(*(ask(engine, one) for one in wanted))
    assert together == alone
