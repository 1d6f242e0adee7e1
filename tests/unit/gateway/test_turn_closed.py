"""Closing records of turns whose client goes, whose gateway ends, or both."""

import asyncio

import pytest

from audit.ports import AuditUnavailableError
from audit.record import Kind
from tests.unit.gateway.turns import ListLog, ScriptedModel, Trace, all_ended, run, service

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
