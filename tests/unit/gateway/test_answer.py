"""The answer: what came at once is examined at once, whatever the model's last delta carries."""

import asyncio

import pytest

from gateway.answer import TOGETHER_CHARACTERS, Answer
from gateway.bulk import TOGETHER
from inference.ports import Delta, FinishReason
from safety.parts import filters
from safety.pipeline import Pipeline
from tests.unit.gateway.turns import WordSafety
from tests.unit.safety.guards import default_policy


def answer(safety=None):
    return Answer(safety=safety or WordSafety(), groups=(), limit_chars=100_000)


class CountingSafety(WordSafety):
    """Counts the texts and the new characters that are under way at the same time."""

    def __init__(self):
        self.now, self.most, self.texts = [], (0, 0), 0

    async def examine(self, text, context):
        self.texts += 1
        self.now.append(len(text) - context.overlap)
        self.most = max(self.most[0], len(self.now)), max(self.most[1], sum(self.now))
        await asyncio.sleep(0)
        self.now.remove(len(text) - context.overlap)
        return await super().examine(text, context)


async def test_an_answer_that_came_whole_is_examined_in_one_round():
    whole = answer()
    release = await whole.take([Delta("One. Two. Three"), Delta(finish_reason=FinishReason.STOP)])
    assert release.text == "One. Two. Three"
    assert await whole.finish() is None
    assert whole.withheld == ""


async def test_a_number_far_down_a_list_is_told_by_the_head_of_the_list():
    policy = default_policy()
    growing = answer(Pipeline(filters(policy), policy))
    rows = "".join(f"Ann Example,Accounting,536-22-{1111 + row}\n" for row in range(25))
    release = await growing.take([Delta(f"name,department,ssn\n{rows}", finish_reason=FinishReason.STOP)])
    assert release.text.count("[ID NUMBER]") == 25


async def test_text_after_the_end_is_still_examined():
    late = answer()
    await late.take([Delta("One. Two.", finish_reason=FinishReason.STOP)])
    assert await late.take([Delta(" bad")]) is None
    assert late.blocking is not None
    assert late.withheld == " bad"


async def test_while_the_model_speaks_the_last_sentence_is_held_back():
    growing = answer()
    release = await growing.take([Delta("One. Two. Thr")])
    assert release.text == "One. Two. "
    assert (await growing.finish()).text == "Thr"


async def test_an_answer_without_a_word_is_examined_too_so_that_its_record_says_so():
    empty = answer()
    await empty.take([Delta(finish_reason=FinishReason.STOP)])
    assert await empty.finish() is None
    [decision] = empty.decisions
    assert [(one.status, one.characters) for one in decision.examinations] == [("ran", 0)]


async def test_of_an_answer_that_came_whole_a_group_is_examined_at_a_time():
    whole = answer(safety := CountingSafety())
    text = "".join(f"Row {at} is in stock.\n" for at in range(500))
    release = await whole.take([Delta(text, finish_reason=FinishReason.STOP)])
    assert (release.text, safety.texts, safety.most[0]) == (text, 500, TOGETHER)
    assert len(release.decisions) == len(whole.decisions) == 500


async def test_few_sentences_are_examined_at_once():
    few = answer(safety := CountingSafety())
    await few.take([Delta("One is. " * TOGETHER, finish_reason=FinishReason.STOP)])
    assert safety.most[0] == TOGETHER


async def test_long_tokens_make_a_group_small():
    long = answer(safety := CountingSafety())
    text = ("a" * 3000 + " ok. ") * 10
    release = await long.take([Delta(text, finish_reason=FinishReason.STOP)])
    assert release.text == text
    assert safety.most[1] <= TOGETHER_CHARACTERS


@pytest.mark.parametrize("at", [0, 1, TOGETHER - 1, TOGETHER, 3 * TOGETHER + 5])
@pytest.mark.parametrize("stopped", [False, True])
async def test_nothing_after_the_first_stretch_that_is_blocked_is_released_or_examined_in_vain(at: int, stopped: bool):
    whole = answer(safety := CountingSafety())
    rows = [f"Row {number} is {'bad' if number >= at else 'fine'}.\n" for number in range(500)]
    last = Delta("".join(rows), finish_reason=FinishReason.CONTENT_FILTER if stopped else FinishReason.STOP)
    release = await whole.take([last])
    shown = "" if stopped else "".join(rows[:at])
    assert (release.text if release else "") == shown
    assert whole.blocking is whole.decisions[-1]
    assert len(whole.decisions) == at + 1
    assert whole.findings[-1].start == "".join(rows).index("bad")
    assert whole.withheld == "".join(rows)[len(shown) :]
    assert safety.texts <= at + TOGETHER
