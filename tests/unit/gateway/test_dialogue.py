"""What guards are told of a turn: what stood before the new message, and in whose name it is asked."""

from dataclasses import replace

import pytest
import yaml

from gateway.turn_events import Outcome, TextReleased
from safety.pipeline import Pipeline
from safety.policy import complete, parse_policy
from safety.verdict import Category
from tests.unit.gateway.turns import FixedPolicy, ScriptedModel, Trace, WordSafety, run, service
from tests.unit.safety.guards import BANDS, TEXT, WordGuard


class ListeningSafety(WordSafety):
    """Writes down every text with its context."""

    def __init__(self):
        self.asked = []

    async def examine(self, text, context):
        self.asked.append((text, context))
        return await super().examine(text, context)


async def test_the_new_message_is_examined_behind_the_persons_earlier_ones_without_those_that_were_blocked():
    trace, safety = Trace(), ListeningSafety()
    turns = replace(service(trace, ScriptedModel(trace, "Ok.")), policy=FixedPolicy(safety))
    await run(turns, "one", "answer", "bad", "answer", "two", "answer", "three")
    windows = {text: context.window for text, context in safety.asked if text != "answer"}
    assert windows["three"] == ("one", "two")
    assert (windows["one"], windows["bad"], windows["two"]) == ((), (), ())


def stricter_for(group):
    """Make a layer in which a word is allowed both ways, but not to members of one group."""
    fields = yaml.safe_load(TEXT)
    fields["rules"]["company.word"] = {"input": "allow", "output": "allow"}
    fields["groups"] = {group: {"rules": {"company.word": {"input": "block", "output": "block"}}}}
    policy = complete(parse_policy(yaml.safe_dump(fields)), BANDS)
    return Pipeline([WordGuard("falcon", category=Category.COMPANY)], policy)


async def asked_by_staff(safety, *texts, said="Ok."):
    """Run a turn of a member of `staff`; return its last event, what was shown and what the model was sent."""
    trace = Trace()
    turns = replace(service(trace, model := ScriptedModel(trace, said)), policy=FixedPolicy(safety))
    events = await run(turns, *texts)
    shown = "".join(event.text for event in events if isinstance(event, TextReleased))
    return events[-1], shown, [[message.content for message in one.messages] for one in model.asked]


async def test_what_a_group_forbids_its_members_is_blocked_on_the_way_in():
    ended, _, asked = await asked_by_staff(stricter_for("staff"), "the falcon plans")
    assert (ended.outcome, ended.reason, ended.rules) == (Outcome.BLOCKED, "input_blocked", ("company.word",))
    assert asked == []


async def test_what_a_group_forbids_its_members_is_blocked_on_the_way_out():
    ended, shown, _ = await asked_by_staff(stricter_for("staff"), "hello", said="Fine. The falcon plans. ")
    assert (ended.outcome, ended.reason, ended.rules) == (Outcome.BLOCKED, "output_blocked", ("company.word",))
    assert "falcon" not in shown


async def test_what_a_group_forbids_its_members_stays_behind_in_what_was_said_before():
    ended, _, asked = await asked_by_staff(stricter_for("staff"), "the falcon plans", "I see.", "hello")
    assert (ended.outcome, ended.left_out) == (Outcome.COMPLETED, 2)
    assert asked == [["hello"]]


@pytest.mark.parametrize("texts", [["the falcon plans"], ["the falcon plans", "I see.", "hello"]])
async def test_what_another_group_forbids_is_allowed(texts):
    ended, shown, asked = await asked_by_staff(stricter_for("sales"), *texts, said="The falcon plans.")
    assert (ended.outcome, shown, asked) == (Outcome.COMPLETED, "The falcon plans.", [texts])
