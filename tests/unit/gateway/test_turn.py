"""The order of a turn, with small parts of our own: nothing is shown before its record, whatever ends it."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from audit.ports import AuditOverloadedError
from audit.record import Kind
from gateway.problems import (
    AccessEndedError,
    AuditUnavailableProblemError,
    RateLimitedError,
)
from gateway.turn_events import Outcome, TextReleased, TurnEnded, TurnStarted
from gateway.turn_records import stages_of
from gateway.unread import UNREAD_EVENTS
from inference.ports import Delta, FinishReason
from safety.pipeline import Pipeline
from safety.verdict import Action, Decision, Examination, StageStatus
from tests.unit.gateway.turns import (
    FixedPolicy,
    ListLog,
    ScriptedModel,
    Trace,
    Watch,
    all_ended,
    request,
    run,
    service,
)
from tests.unit.safety.guards import WordGuard, default_policy


async def test_each_release_is_durable_before_it_is_shown():
    trace = Trace()
    events = await run(service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three")), "hello", trace=trace)
    assert trace.events[:3] == ["turn.accepted", "TurnStarted", "infer"] or trace.events[:3] == [
        "turn.accepted", "infer", "TurnStarted"]  # fmt: skip
    shown = 0
    for event in trace.events:
        shown += {"turn.released": 1, "TextReleased": -1}.get(event, 0)
        assert shown >= 0
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "One. Two. Three"
    assert isinstance(events[-1], TurnEnded)
    assert trace.entries[-1].kind is Kind.TURN_COMPLETED
    assert {c.name: c.text for c in trace.entries[-1].contents} == {"generated": "One. Two. Three"}


async def test_blocked_input_never_reaches_the_model():
    trace = Trace()
    model = ScriptedModel(trace, "x")
    [ended] = await run(service(trace, model), "something bad")
    assert (ended.outcome, ended.reason, ended.rules) == (Outcome.BLOCKED, "input_blocked", ("words.bad",))
    assert model.asked == []
    assert trace.events == ["turn.accepted", "turn.blocked"]


async def test_redacted_input_is_what_the_model_is_sent():
    trace = Trace()
    model = ScriptedModel(trace, "Ok.")
    started, *_ = await run(service(trace, model), "my secret here")
    assert started == TurnStarted(turn_id=started.turn_id, message_redacted=True)
    assert [message.content for message in model.asked[0].messages] == ["my [SECRET] here"]
    assert trace.entries[0].contents[0].text == "my secret here"
    assert trace.entries[0].dialogue[0].text == "my [SECRET] here"


async def test_blocked_output_stops_the_model_and_withholds_the_rest():
    trace = Trace()
    model = ScriptedModel(trace, "Fine. ", "This is bad. ", "More. ", hangs=True)
    events = await run(service(trace, model), "hello")
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "Fine. "
    assert events[-1].reason == "output_blocked"
    assert model.closed
    closing = {content.name: content.text for content in trace.entries[-1].contents}
    assert closing["withheld"].startswith("This is bad.")
    assert closing["generated"] == "Fine. " + closing["withheld"]


async def test_a_guard_that_fails_blocks_and_says_so():
    trace = Trace()
    [ended] = await run(service(trace, ScriptedModel(trace, "x")), "crash")
    assert ended.reason == "guard_failed"
    assert trace.entries[0].stages[0].status == "error"


async def test_a_guard_that_hangs_blocks_and_the_record_says_which_and_how():
    trace = Trace()
    guards = [WordGuard("x", name="filters.quick"), WordGuard(name="filters.slow", delay=30)]
    safety = Pipeline(guards, default_policy(), guard_timeout_s=0.1)
    turns = replace(service(trace, model := ScriptedModel(trace, "x")), policy=FixedPolicy(safety))
    [ended] = await run(turns, "hello")
    assert (ended.outcome, ended.reason, model.asked) == (Outcome.BLOCKED, "guard_failed", [])
    stages = {stage.stage: (stage.status, stage.error) for stage in trace.entries[0].stages}
    assert stages == {
        "input.normaliser": ("ran", ""),
        "input.filters.quick": ("ran", ""),
        "input.filters.slow": ("timed_out", "TimeoutError"),
    }


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (["ran", "timed_out", "skipped"], "timed_out"),
        (["timed_out", "error", "ran"], "error"),
        (["skipped", "ran"], "ran"),
    ],
)
def test_the_record_of_several_texts_says_the_worst_of_a_guard(at, statuses, worst):
    turned = [StageStatus(one) for one in statuses[at:] + statuses[:at]]
    examined = [Examination("words", "1", one, 5, error="TimeoutError" * (one == "timed_out")) for one in turned]
    decisions = [Decision(Action.ALLOW, (), (one,), "policy", "1") for one in examined]
    [stage] = stages_of("input", decisions)
    assert (stage.stage, stage.status, stage.characters) == ("input.words", worst, 5 * len(statuses))
    assert stage.error == ("TimeoutError" if "timed_out" in statuses else "")


async def test_an_earlier_blocked_message_stays_behind_with_its_answer():
    trace = Trace()
    model = ScriptedModel(trace, "Hi.")
    events = await run(service(trace, model), "this is bad", "I cannot", "hello")
    assert events[-1].outcome is Outcome.COMPLETED
    assert [message.content for message in model.asked[0].messages] == ["hello"]
    assert trace.entries[0].detail["left_out"] == 2


async def test_no_record_no_inference():
    trace = Trace()
    model = ScriptedModel(trace, "x")
    with pytest.raises(AuditUnavailableProblemError):
        await run(service(trace, model, ListLog(trace, fails_at=Kind.TURN_ACCEPTED)), "hello")
    assert model.asked == []


async def test_no_record_no_release():
    trace = Trace()
    log = ListLog(trace, fails_at=Kind.TURN_RELEASED)
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three"), log)
    events = await run(turns, "hello")
    assert not any(isinstance(event, TextReleased) for event in events)
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "audit_unavailable")
    await turns.close()


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


async def test_a_model_that_fails_is_an_aborted_turn():
    trace = Trace()
    events = await run(service(trace, ScriptedModel(trace, "One. ", "Tw", fails=True)), "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_failed")
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "One. "


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


async def test_over_the_limit_is_refused_and_recorded():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "Ok."), rate_per_minute=1, rate_burst=1)
    await run(turns, "hello")
    with pytest.raises(RateLimitedError) as refusal:
        await run(turns, "hello")
    assert refusal.value.retry_after
    assert trace.entries[-1].kind is Kind.TURN_REFUSED
    assert trace.entries[-1].reason == "rate_limited"


async def test_access_that_ends_cuts_a_silent_stream_and_is_recorded():
    trace, watch = Trace(), Watch()
    turns = service(trace, ScriptedModel(trace, "One sentence. ", "And another", hangs=True), watch=watch)
    events = []
    async with asyncio.timeout(5):
        async for event in turns.run(request("hello")):
            events.append(event)
            if isinstance(event, TextReleased):
                watch.watched.ended = True
    assert isinstance(events[-1], TurnEnded)
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "access_ended")
    assert "another" not in "".join(event.text for event in events if isinstance(event, TextReleased))
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert trace.entries[-1].reason == "access_ended"


async def test_whoever_has_no_access_any_more_starts_no_turn():
    trace = Trace()
    with pytest.raises(AccessEndedError):
        await run(service(trace, ScriptedModel(trace, "text"), watch=Watch(ended_at_once=True)), "hello")
    assert [entry.kind for entry in trace.entries] == [Kind.TURN_REFUSED]
    assert trace.entries[0].reason == "access_ended"
