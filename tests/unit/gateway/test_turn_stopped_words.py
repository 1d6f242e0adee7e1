"""Words that stop the model while it decodes: a block, whoever stopped it."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from audit.record import Kind
from gateway.model_activation import Use
from gateway.models import Route
from gateway.turn import TurnService
from gateway.turn_events import Outcome, TextReleased
from inference.forbidden import digest
from inference.ports import Delta, FinishReason, ForbiddenWords
from tests.unit.gateway.turns import FixedPolicy, ScriptedModel, Trace, WordSafety, run, service

FORBIDDEN = (ForbiddenWords("company.projects", ("夜莺计划",)),)


def stopping(trace: Trace, *deltas: Delta, stops_words: bool = True) -> tuple[TurnService, ScriptedModel]:
    model = ScriptedModel(trace, *deltas)
    policy = FixedPolicy(WordSafety(), lambda groups: FORBIDDEN if "staff" in groups else ())
    turns = replace(service(trace, model), policy=policy)
    turns.routes.chosen = Route(Use("m", "r1"), stops_words=stops_words)
    return turns, model


def told(text: str, **fields) -> Delta:
    return Delta(text=text, lexicon=digest(FORBIDDEN), **fields)


@pytest.mark.parametrize("text", ["It is bad", "It is odd"])
async def test_a_model_stopped_while_it_decodes_is_a_blocked_turn_whatever_the_guards_see(text):
    trace = Trace()
    last = told(text, finish_reason=FinishReason.CONTENT_FILTER, stopped_by="company.projects")
    turns, model = stopping(trace, told("One. "), last)
    events = await run(turns, "hello")
    assert model.asked[0].forbidden == FORBIDDEN
    shown = "".join(event.text for event in events if isinstance(event, TextReleased))
    assert (events[-1].outcome, events[-1].reason) == (Outcome.BLOCKED, "output_blocked")
    closing = trace.entries[-1]
    assert (closing.kind, closing.finish_reason, closing.verdict) == (Kind.TURN_BLOCKED, "content_filter", "block")
    assert closing.detail["stopped_by"] == "company.projects"
    assert closing.findings[-1].rule == ("words.bad" if "bad" in text else "company.projects")
    texts = {one.name: one.text for one in closing.contents}
    assert texts["withheld"].endswith(text)
    assert shown + texts["withheld"] == texts["generated"] == "One. " + text
    stage = next(one for one in closing.stages if one.stage == "output.decoding")
    assert (stage.status, stage.version) == ("ran", digest(FORBIDDEN).removeprefix("sha256:")[:16])


async def test_an_endpoint_that_cannot_stop_is_not_asked_to_and_the_record_says_so():
    trace = Trace()
    turns, model = stopping(trace, Delta(text="One."), stops_words=False)
    events = await run(turns, "hello")
    assert model.asked[0].forbidden == ()
    assert events[-1].outcome is Outcome.COMPLETED
    stage = next(one for one in trace.entries[-1].stages if one.stage == "output.decoding")
    assert (stage.status, stage.characters) == ("skipped", 0)


async def test_a_tier_that_does_not_stop_as_it_said_answers_nothing():
    trace = Trace()
    turns, _ = stopping(trace, Delta(text="One. "), Delta(text="Two."))
    events = await run(turns, "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_failed")
    assert not any(isinstance(event, TextReleased) for event in events)


async def test_an_endpoints_own_filter_is_a_block_too():
    trace = Trace()
    model = ScriptedModel(trace, "One. ", Delta(text="Tw", finish_reason=FinishReason.CONTENT_FILTER))
    events = await run(service(trace, model), "hello")
    assert (events[-1].outcome, events[-1].rules) == (Outcome.BLOCKED, ("decoding.endpoint",))
    assert trace.entries[-1].detail["stopped_by"] == "decoding.endpoint"


SAID = "words that nobody has examined \u202e"


@pytest.mark.parametrize("stops_words", [True, False])
@pytest.mark.parametrize("finish", [FinishReason.STOP, FinishReason.CONTENT_FILTER])
async def test_what_an_endpoint_says_of_a_stop_is_shown_and_recorded_only_as_a_rule_that_it_was_sent(
    stops_words: bool, finish: FinishReason
):
    trace = Trace()
    last = Delta(text="Tw", finish_reason=finish, lexicon=digest(FORBIDDEN) if stops_words else SAID, stopped_by=SAID)
    turns, _ = stopping(trace, last, stops_words=stops_words)
    events = await run(turns, "hello")
    assert (events[-1].outcome, events[-1].rules) == (Outcome.BLOCKED, ("decoding.endpoint",))
    closing = trace.entries[-1]
    assert closing.detail["stopped_by"] == closing.findings[-1].rule == "decoding.endpoint"
    assert SAID not in str([msgspec.structs.replace(entry, contents=()) for entry in trace.entries])
    stage = next(one for one in closing.stages if one.stage == "output.decoding")
    assert stage.status == ("ran" if stops_words else "skipped")


async def test_an_endpoint_that_was_sent_no_words_names_no_rule_of_them():
    trace = Trace()
    turns, _ = stopping(trace, Delta(text="Tw", stopped_by="company.projects"), stops_words=False)
    assert (await run(turns, "hello"))[-1].rules == ("decoding.endpoint",)


@pytest.mark.parametrize(("said", "rule"), [("company.projects", "company.projects"), (SAID, "decoding.endpoint")])
async def test_a_mirrored_answer_that_is_stopped_names_a_rule_that_was_sent_too(said: str, rule: str):
    trace = Trace()
    turns, _ = stopping(trace, told("Fine."))
    turns.mirroring._model = ScriptedModel(trace, told("Tw", finish_reason=FinishReason.STOP, stopped_by=said))
    turns.routes.chosen = Route(Use("m@a", "r1"), mirror=Use("m@b", "r2"), stops_words=True)
    await run(turns, "hello")
    await asyncio.gather(*turns.mirroring._running)
    [record] = [entry for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED]
    assert (record.verdict, [finding.rule for finding in record.findings]) == ("block", [rule])
