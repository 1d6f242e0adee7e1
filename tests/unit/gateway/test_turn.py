"""The order of a turn, with small parts of our own: nothing is shown before its record."""

import asyncio
from dataclasses import replace

import pytest

from audit.record import Kind
from gateway.problems import (
    AccessEndedError,
    AuditUnavailableProblemError,
    RateLimitedError,
)
from gateway.turn_events import Outcome, TextReleased, TurnEnded, TurnStarted
from gateway.turn_records import stages_of
from safety.pipeline import Pipeline
from safety.verdict import Action, Decision, Examination, StageStatus
from tests.unit.gateway.turns import (
    FixedPolicy,
    ListLog,
    ScriptedModel,
    Trace,
    Watch,
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


async def test_a_model_that_fails_is_an_aborted_turn():
    trace = Trace()
    events = await run(service(trace, ScriptedModel(trace, "One. ", "Tw", fails=True)), "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_failed")
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "One. "


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
