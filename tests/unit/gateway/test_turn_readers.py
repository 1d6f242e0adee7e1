"""Who reads a turn goes away, reads slowly, or waits while a record is refused: what is shown is what is on record."""

import asyncio
from contextlib import aclosing

import pytest

from audit.ports import AuditOverloadedError
from audit.record import Kind
from gateway.turn_events import Outcome, TextReleased
from gateway.unread import UNREAD_EVENTS
from inference.ports import Delta, FinishReason
from tests.unit.gateway.turns import ListLog, ScriptedModel, Trace, all_ended, request, run, service


class SteadyModel(ScriptedModel):
    """Says one sentence after the other, each in time to be released by itself."""

    said = "".join(f"Sentence {at}. " for at in range(2 * UNREAD_EVENTS))

    async def stream(self, _request, _headers=None):
        for sentence in self.said.split(". ")[:-1]:
            yield Delta(text=f"{sentence}. ")
            await asyncio.sleep(0.002)
        yield Delta(finish_reason=FinishReason.STOP)


class RefusingLog(ListLog):
    """Refuses what holds `text` once, after a while."""

    def __init__(self, trace: Trace, text: str, kind: Kind, slow_s: float = 0):
        super().__init__(trace)
        self.text, self.kind, self.refuses_after_s, self.refused = text, kind, slow_s, asyncio.Event()

    async def append(self, *entries):
        texts = [content.text for entry in entries if entry.kind is self.kind for content in entry.contents]
        if not self.refused.is_set() and any(self.text in text for text in texts):
            self.refused.set()
            await asyncio.sleep(self.refuses_after_s)
            raise AuditOverloadedError("busy")
        return await super().append(*entries)


def delivered(trace: Trace) -> str:
    return "".join(one.text for entry in trace.entries for one in entry.contents if one.name == "delivered")


@pytest.mark.parametrize("text", ["One", "Three", "Four"])
async def test_a_stretch_whose_record_was_refused_counts_as_withheld(text: str):
    trace = Trace()
    turns = service(trace, model := SteadyModel(trace), RefusingLog(trace, text, Kind.TURN_RELEASED))
    model.said = "One. Two. Three. Four. "
    events = await run(turns, "hello")
    await all_ended(turns)
    shown = "".join(event.text for event in events if isinstance(event, TextReleased))
    assert shown == delivered(trace)
    assert text not in shown
    closing = trace.entries[-1]
    assert (closing.kind, closing.reason, closing.length) == (Kind.TURN_ABORTED, "audit_unavailable", len(shown))
    texts = {content.name: content.text for content in closing.contents}
    assert shown + texts["withheld"] == texts["generated"]
    assert shown or not closing.first_release_ms


@pytest.mark.parametrize("refuses_after_s", [0, 0.05])
async def test_a_client_that_goes_while_a_stretch_is_refused_was_not_shown_it(refuses_after_s: float):
    trace = Trace()
    log = RefusingLog(trace, "Two", Kind.TURN_RELEASED, refuses_after_s)
    turns = service(trace, model := SteadyModel(trace), log)
    model.said = "One. Two. Three. "
    reading = asyncio.create_task(run(turns, "hello"))
    await log.refused.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await all_ended(turns)
    closing = trace.entries[-1]
    texts = {content.name: content.text for content in closing.contents}
    assert (closing.kind, closing.length) == (Kind.TURN_ABORTED, len(delivered(trace)))
    assert delivered(trace) + texts["withheld"] == texts["generated"]


async def test_a_client_that_goes_while_the_closing_record_is_refused_leaves_one_all_the_same():
    trace = Trace()
    log = RefusingLog(trace, "One", Kind.TURN_ABORTED, 0.05)
    turns = service(trace, ScriptedModel(trace, "One. ", "Tw", fails=True), log)
    reading = asyncio.create_task(run(turns, "hello"))
    await log.refused.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await all_ended(turns)
    assert [entry.reason for entry in trace.entries if entry.kind is Kind.TURN_ABORTED] == ["model_failed"]


async def test_a_slow_reader_gets_all_that_is_on_record_as_delivered():
    trace = Trace()
    events = []
    async for event in service(trace, SteadyModel(trace)).run(request("hello")):
        events.append(event)
        await asyncio.sleep(0.01)  # the turn is ahead of it by all that may wait
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == SteadyModel.said
    assert events[-1].outcome is Outcome.COMPLETED


async def test_what_a_reader_left_unread_is_bounded_and_has_no_hole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.unread.STALL_S", 0.05)
    trace = Trace()
    turns = service(trace, SteadyModel(trace))
    events = []
    async for event in turns.run(request("hello")):
        events.append(event)
        if len(events) == 1:
            await all_ended(turns)  # the reader counts as gone, and comes back
    assert len(events) == 1 + UNREAD_EVENTS
    shown = "".join(event.text for event in events if isinstance(event, TextReleased))
    assert SteadyModel.said.startswith(shown)
    assert (trace.entries[-1].kind, trace.entries[-1].reason) == (Kind.TURN_ABORTED, "client_gone")


async def test_a_gateway_that_ends_waits_for_the_closing_records_of_its_turns():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", hangs=True), ListLog(trace, slow_s=0.2))
    reading = asyncio.create_task(run(turns, "hello", trace=trace))
    while "TextReleased" not in trace.events:  # noqa: ASYNC110 - the trace has no event for it
        await asyncio.sleep(0.01)
    await turns.close()
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert not turns.running
    reading.cancel()
    await asyncio.wait([reading])


@pytest.mark.parametrize("slow_s", [0, 0.01])
async def test_a_client_that_goes_away_leaves_a_closing_record(slow_s: float):
    trace = Trace()
    model = ScriptedModel(trace, "One. ", "Two. ", hangs=True)
    turns = service(trace, model, ListLog(trace, slow_s=slow_s))
    async with aclosing(turns.run(request("hello"))) as events:
        async for event in events:
            if isinstance(event, TextReleased):
                break
    await all_ended(turns)
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert trace.entries[-1].reason == "client_gone"
    assert [entry.kind for entry in trace.entries].count(Kind.TURN_ABORTED) == 1
    assert model.closed


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05])
async def test_cancelled_at_any_moment_an_accepted_turn_is_closed_exactly_once(after_s: float):
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three"), ListLog(trace, slow_s=0.01))
    reading = asyncio.create_task(run(turns, "hello"))
    await asyncio.sleep(after_s)
    reading.cancel()
    await asyncio.wait([reading])
    await all_ended(turns)
    kinds = [entry.kind for entry in trace.entries]
    closings = [kind for kind in kinds if kind in {Kind.TURN_COMPLETED, Kind.TURN_ABORTED}]
    assert len(closings) == kinds.count(Kind.TURN_ACCEPTED)
