"""The answer: what came at once is examined at once, whatever the model's last delta carries."""

from gateway.answer import Answer
from inference.ports import Delta, FinishReason
from tests.unit.gateway.turns import WordSafety


def answer():
    return Answer(safety=WordSafety(), groups=(), limit_chars=1000)


async def test_an_answer_that_came_whole_is_examined_in_one_round():
    whole = answer()
    release = await whole.take([Delta("One. Two. Three"), Delta(finish_reason=FinishReason.STOP)])
    assert release.text == "One. Two. Three"
    assert await whole.finish() is None
    assert whole.withheld == ""


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
