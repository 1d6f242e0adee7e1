"""Closing records of turns whose client goes, whose gateway ends, or both."""

import asyncio
from collections import Counter
from contextlib import aclosing

import pytest

from audit.ports import AuditUnavailableError
from audit.record import Kind
from gateway.turn import TurnService
from tests.unit.gateway.turns import ListLog, ScriptedModel, Trace, all_ended, request, run, service

CLOSINGS = (Kind.TURN_COMPLETED, Kind.TURN_ABORTED)


class Outage(ListLog):
    """A log that can be gone for a while, and says when a kind is about to be written."""

    down = False

    def __init__(self, trace: Trace, slow_s: float = 0):
        super().__init__(trace, slow_s=slow_s)
        self.completing = asyncio.Event()

    async def append(self, *entries):
        if any(entry.kind is Kind.TURN_COMPLETED for entry in entries):
            self.completing.set()
        if self.down:
            raise AuditUnavailableError("gone")
        return await super().append(*entries)


async def shown(trace: Trace) -> None:
    while "TextReleased" not in trace.events:  # noqa: ASYNC110 - the trace has no event for it
        await asyncio.sleep(0.01)


def closings(trace: Trace) -> list[Kind]:
    return [entry.kind for entry in trace.entries if entry.kind in CLOSINGS]


@pytest.mark.parametrize("client_goes_first", [True, False])
async def test_a_log_that_is_gone_while_the_gateway_ends_gets_its_closing_record(client_goes_first: bool):
    trace = Trace()
    log = Outage(trace)
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three", hangs=True), log)
    reading = asyncio.create_task(run(turns, "hello", trace=trace))
    await shown(trace)
    log.down = True
    if client_goes_first:
        reading.cancel()
        await asyncio.wait([reading])
        await asyncio.sleep(0.05)
    closing = asyncio.create_task(turns.close())
    await asyncio.sleep(0.05)
    log.down = False
    await closing
    assert closings(trace) == [Kind.TURN_ABORTED]
    reading.cancel()


@pytest.mark.parametrize("ticks", range(12))
async def test_a_gateway_that_ends_right_after_the_client_went_writes_the_record(ticks: int):
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three", hangs=True), ListLog(trace))
    reading = asyncio.create_task(run(turns, "hello", trace=trace))
    await shown(trace)
    reading.cancel()
    for _ in range(ticks):
        await asyncio.sleep(0)
    await turns.close()
    assert closings(trace) == [Kind.TURN_ABORTED]


@pytest.mark.parametrize("between_s", [0, 0.01, 0.1])
async def test_a_turn_that_is_cancelled_twice_while_it_is_completed_is_closed_once(between_s: float):
    trace = Trace()
    log = Outage(trace, slow_s=0.05)
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three"), log)
    reading = asyncio.create_task(run(turns, "hello", trace=trace))
    await log.completing.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await asyncio.sleep(between_s)
    await turns.close()
    await all_ended(turns)
    assert closings(trace) == [Kind.TURN_COMPLETED]


def counted(turns: TurnService) -> Counter[tuple[str, str]]:
    """Return how many turns the metrics have by outcome and reason."""
    samples = [sample for metric in turns.telemetry.metrics.turns.collect() for sample in metric.samples]
    ended = (one for one in samples if one.name == "attest_turns_total")
    return Counter({(one.labels["outcome"], one.labels["reason"]): int(one.value) for one in ended})


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06])
async def test_a_turn_whose_reader_left_is_counted_as_its_record_says(after_s: float, *, fails: bool):
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three", fails=fails), ListLog(trace, slow_s=0.01))
    reading = asyncio.create_task(run(turns, "hello"))
    await asyncio.sleep(after_s)
    reading.cancel()
    await asyncio.wait([reading])
    await all_ended(turns)
    records = [entry for entry in trace.entries if entry.kind in CLOSINGS]
    assert counted(turns) == Counter((one.kind.value.removeprefix("turn."), one.reason) for one in records)


async def test_a_turn_whose_reader_stopped_reading_is_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.unread.STALL_S", 0.05)
    monkeypatch.setattr("gateway.unread.UNREAD_EVENTS", 2)
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, *["One. ", "Two. "] * 9))
    async with aclosing(turns.run(request("hello"))) as events:
        await anext(events)
        await all_ended(turns)
    assert closings(trace) == [Kind.TURN_ABORTED]
    assert counted(turns) == {("aborted", "client_gone"): 1}


@pytest.mark.parametrize("text", ["bad", "hello"])
async def test_a_turn_that_is_read_to_its_end_is_counted_once(text: str):
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "Two."))
    events = await run(turns, text)
    assert counted(turns) == {(events[-1].outcome.value, events[-1].reason): 1}
