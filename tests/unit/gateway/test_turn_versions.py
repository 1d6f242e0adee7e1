"""Which weights answer, mirrored answers, and the policy that a turn keeps from its first stage to its last."""

import asyncio

import pytest

from audit.record import Kind
from gateway.judging import Judging
from gateway.mirroring import AT_ONCE
from gateway.model_activation import Use
from gateway.models import Route
from gateway.problems import (
    PolicyUnavailableError,
)
from gateway.turn import TurnService
from gateway.turn_events import Outcome, TextReleased, TurnStarted
from inference.ports import Delta
from tests.unit.gateway.turns import ScriptedModel, Trace, WordSafety, request, run, service


async def mirrored(turns: TurnService, *texts: str):
    turns.routes.chosen = Route(Use("m@a", "r1"), mirror=Use("m@b", "r2"))
    events = await run(turns, *texts)
    await asyncio.gather(*turns.mirroring._running)
    return events


async def test_a_mirrored_answer_is_examined_recorded_and_never_shown():
    trace = Trace()
    model = ScriptedModel(trace, "One. ", "Then a bad thing. ", "Three")
    turns = service(trace, ScriptedModel(trace, "Fine."))
    turns.mirroring._model = model
    events = await mirrored(turns, "hello")
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "Fine."
    assert events[-1].outcome is Outcome.COMPLETED
    [record] = [entry for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED]
    assert (record.model_revision, record.verdict, record.turn_id) == ("r2", "block", events[-1].turn_id)
    assert record.detail == {"mirror": "m@b"}
    assert [(one.name, one.text) for one in record.contents] == [("mirrored", "One. Then a bad thing. Three")]
    assert record.findings[0].rule == "words.bad"
    assert [asked.model for asked in model.asked] == ["m@b"]
    closing = next(entry for entry in trace.entries if entry.kind is Kind.TURN_COMPLETED)
    assert closing.model_revision == "r1"


async def test_a_mirror_that_fails_leaves_the_turn_alone_and_a_record():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "Fine."))
    turns.mirroring._model = ScriptedModel(trace, "Tw", fails=True)
    events = await mirrored(turns, "hello")
    assert events[-1].outcome is Outcome.COMPLETED
    [record] = [entry for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED]
    assert record.reason == "model_failed"


async def test_blocked_input_is_not_mirrored_either():
    trace = Trace()
    turns = service(trace, model := ScriptedModel(trace, "x"))
    await mirrored(turns, "something bad")
    assert model.asked == []


async def test_mirrors_under_way_are_bounded_and_closed_with_a_record():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "Fine."))
    turns.mirroring._model = ScriptedModel(trace, "never ", hangs=True)
    turns.routes.chosen = Route(Use("m@a", "r1"), mirror=Use("m@b", "r2"))
    for _ in range(AT_ONCE + 2):
        await run(turns, "hello")
    assert len(turns.mirroring._running) == AT_ONCE
    await turns.close()
    assert [entry.reason for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED] == ["stopped"] * AT_ONCE


async def test_other_weights_than_those_on_record_are_not_heard():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, Delta(text="One. ", revision="r1"), Delta(text="Two. ", revision="r9")))
    events = await run(turns, "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_changed")
    assert "Two" not in "".join(event.text for event in events if isinstance(event, TextReleased))
    assert turns.routes.was_misled


async def test_what_a_canary_answers_says_so():
    trace = Trace()
    turns = service(trace, model := ScriptedModel(trace, "Fine."))
    turns.routes.chosen = Route(Use("m@b", "r2"), canary=True)
    await run(turns, "hello")
    assert (trace.entries[0].detail["canary"], trace.entries[0].model_revision) == ("m@b", "r2")
    assert (trace.entries[0].model, model.asked[0].model) == ("m", "m@b")


async def test_a_turn_keeps_the_policy_with_which_it_began():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "It is bad. ", "Three"))
    other = WordSafety()
    other.policy_hash, other.examine = "other", None
    async for event in turns.run(request("hello")):
        if isinstance(event, TurnStarted):
            turns.policy.now = Judging(other)
    assert event.outcome is Outcome.BLOCKED
    assert {entry.policy_hash for entry in trace.entries} == {"policy"}


async def test_no_turn_begins_while_the_policy_in_force_cannot_be_used():
    trace = Trace()
    turns = service(trace, model := ScriptedModel(trace, "x"))
    turns.policy.trouble = True
    with pytest.raises(PolicyUnavailableError) as refused:
        await run(turns, "hello")
    assert (refused.value.status, refused.value.retry_after, model.asked) == (503, 5, [])
    [entry] = trace.entries
    assert (entry.kind, entry.reason) == (Kind.TURN_REFUSED, "policy_unavailable")
