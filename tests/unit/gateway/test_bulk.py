"""Many texts: each gets its guards' whole time, whoever else is waiting, and what was not judged is said to be so."""

import asyncio
from dataclasses import replace

import pytest

from audit.record import Kind
from gateway.bulk import CHARACTERS, TOGETHER, Bulk, groups
from gateway.http.moderations import moderation
from gateway.problems import GuardsLateError, OverloadedError
from gateway.turn_events import Outcome
from safety.pipeline import Pipeline
from safety.verdict import Category, StageStatus
from tests.unit.gateway.turns import FixedPolicy, ScriptedModel, Trace, run, service
from tests.unit.safety.guards import INPUT, WordGuard, default_policy

GUARD_TIME_S = 0.4
TEXTS = [f"Row {number} is fine." for number in range(199)]


class OneAtATime(WordGuard):
    """Judges text after text, in the order in which they came, like a classifier on one core; hangs at `hangs`."""

    def __init__(self, word="bad", hangs=""):
        super().__init__(word)
        self.turn, self.hangs = asyncio.Lock(), hangs

    async def examine(self, text, context):
        if self.hangs and self.hangs in text.text:
            await asyncio.sleep(30)
        async with self.turn:
            await asyncio.sleep(0.005)
        return await super().examine(text, context)


def layer(**options):
    return Pipeline([OneAtATime(**options)], default_policy(), guard_timeout_s=GUARD_TIME_S)


async def judged(bulk, safety, texts):
    return [decision async for decision in bulk.examine(safety, texts, INPUT)]


def late(decisions):
    return sum(part.status is StageStatus.TIMED_OUT for one in decisions for part in one.examinations)


async def test_all_at_once_most_texts_would_be_late_and_in_groups_none_is():
    safety = layer()
    assert late(await asyncio.gather(*(safety.examine(text, INPUT) for text in TEXTS)))
    decisions = await judged(Bulk(1, 10), safety, TEXTS)
    assert (len(decisions), late(decisions)) == (len(TEXTS), 0)


async def test_decisions_come_in_the_order_of_the_texts():
    decisions = await judged(Bulk(2, 10), layer(word="7 is"), TEXTS)
    assert [bool(one.verdicts) for one in decisions] == ["7 is" in text for text in TEXTS]


async def test_the_bulk_of_several_people_lets_a_message_go_first():
    safety, bulk = layer(), Bulk(1, 10)
    many = [asyncio.create_task(judged(bulk, safety, TEXTS)) for _ in range(3)]
    await asyncio.sleep(0.05)
    messages = await asyncio.gather(*(safety.examine("How do I freeze a row?", INPUT) for _ in range(5)))
    assert not late(messages)
    assert not any(one.done() for one in many)
    assert not late([one for done in await asyncio.gather(*many) for one in done])


async def test_a_few_texts_wait_for_nobody_and_many_are_refused_when_no_place_comes_free():
    safety, bulk = layer(), Bulk(1, 0.05)
    waiting = asyncio.create_task(judged(bulk, layer(hangs="Row"), TEXTS))
    await asyncio.sleep(0.01)
    assert len(await judged(bulk, safety, TEXTS[:TOGETHER])) == TOGETHER
    with pytest.raises(OverloadedError):
        await judged(bulk, safety, TEXTS)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert len(await judged(bulk, safety, TEXTS)) == len(TEXTS), "the place of one that went away is free again"


def test_groups_are_small_in_texts_and_in_characters():
    texts = ["a" * 500] * 9 + ["b" * 30_000] + ["c"] * 40
    cut = list(groups(texts, len))
    assert [text for group in cut for text in group] == texts
    assert all(len(group) <= TOGETHER and (len(group) == 1 or sum(map(len, group)) <= CHARACTERS) for group in cut)
    assert len(cut) == 3 + 1 + 3


async def test_a_long_dialogue_reaches_the_model_whole():
    trace = Trace()
    turns = replace(service(trace, model := ScriptedModel(trace, "Ok.")), policy=FixedPolicy(layer()))
    events = await run(turns, *TEXTS)
    assert (events[-1].outcome, events[-1].left_out) == (Outcome.COMPLETED, 0)
    assert [message.content for message in model.asked[0].messages] == TEXTS


async def test_a_turn_whose_earlier_messages_were_not_judged_in_time_is_refused_and_not_answered_without_them():
    trace = Trace()
    turns = replace(service(trace, model := ScriptedModel(trace, "Ok.")), policy=FixedPolicy(layer(hangs="slow")))
    with pytest.raises(GuardsLateError) as raised:
        await run(turns, "a slow one", "I see.", "hello")
    assert raised.value.turn_id
    assert raised.value.retry_after
    assert model.asked == []
    assert [(entry.kind, entry.reason) for entry in trace.entries] == [(Kind.TURN_REFUSED, "guards_late")]


async def test_a_message_that_is_blocked_in_any_case_stays_behind_though_a_guard_was_late():
    trace = Trace()
    slow = OneAtATime(word="", hangs="bad")
    slow.name = "filters.slow"
    guards = [WordGuard("bad", category=Category.PROMPT_ATTACK), slow]
    safety = Pipeline(guards, default_policy(), guard_timeout_s=GUARD_TIME_S)
    turns = replace(service(trace, model := ScriptedModel(trace, "Ok.")), policy=FixedPolicy(safety))
    events = await run(turns, "bad", "I see.", "hello")
    assert (events[-1].outcome, events[-1].left_out) == (Outcome.COMPLETED, 2)
    assert [message.content for message in model.asked[0].messages] == ["hello"]


async def test_a_moderation_names_the_guards_that_did_not_judge():
    safety = layer(hangs="slow")
    well, failed = [moderation(one, "c") for one in await judged(Bulk(1, 1), safety, ["fine", "slow"])]
    assert (well.flagged, well.attest.failed) == (False, [])
    assert failed.flagged
    assert [(one.stage, one.status) for one in failed.attest.failed] == [("filters.word", "timed_out")]
