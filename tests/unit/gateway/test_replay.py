"""A policy tried on turns of our own: what it makes milder, and of which turns nobody can say."""

from types import SimpleNamespace

import pytest

from audit.ports import TurnTrail
from gateway.replay import replay
from inference.ports import Delta, FinishReason
from tests.unit.gateway.turns import ScriptedModel, Trace, WordSafety, run, service


class LaxSafety(WordSafety):
    """Has nothing against any text."""

    async def examine(self, text, context):
        return await super().examine("." * len(text), context)


async def replayed(safety, *texts, said="Ok."):
    """Run one turn, judge it again under `safety`; return how many turns were judged, came out milder, or cannot be."""
    trace = Trace()
    await run(service(trace, ScriptedModel(trace, said)), *texts)
    opened, closed = trace.entries[0], trace.entries[-1]
    trail = TurnTrail(
        turn_id=opened.turn_id, at=opened.at, subject=opened.subject, verdict=closed.verdict,
        dialogue=opened.dialogue, message=texts[-1], withheld="", delivered="",
        generated=next((one.text for one in closed.contents if one.name == "generated"), ""),
        records=tuple(trace.entries), reason=closed.reason, closing_kind=closed.kind.value,
    )  # fmt: skip

    async def trails(turn_ids):
        return dict.fromkeys(turn_ids, trail)

    found = await replay(SimpleNamespace(trails=trails), safety, [trail])  # type: ignore[arg-type]
    assert len(found.changed) == found.milder + found.stricter
    return found.turns, found.milder, found.unjudged


@pytest.mark.parametrize(
    ("texts", "said", "expected"),
    [
        (["bad"], "Ok.", (1, 1, 0)),
        (["my secret"], "Ok.", (1, 1, 0)),
        (["hello"], "Ok.", (1, 0, 0)),
        (["hello"], "This is bad.", (1, 1, 0)),
        (["bad", "I see.", "hello"], "This is bad.", (1, 1, 0)),
        (["hello", "Hi.", "bad"], "Ok.", (0, 0, 1)),
        (["bad", "I see.", "bad"], "Ok.", (0, 0, 1)),
        (["my secret", "I see.", "another secret"], "Ok.", (0, 0, 1)),
        (["crash"], "Ok.", (0, 0, 1)),
        (["hello"], "A crash.", (0, 0, 1)),
        (["hello"], Delta("Ok.", finish_reason=FinishReason.CONTENT_FILTER), (0, 0, 1)),
    ],
)
async def test_a_turn_is_only_called_milder_where_the_texts_on_record_decided(texts, said, expected):
    assert await replayed(LaxSafety(), *texts, said=said) == expected


@pytest.mark.parametrize("texts", [["bad"], ["hello", "Hi.", "bad"], ["bad", "I see.", "hello"], ["crash"], ["hello"]])
async def test_the_same_policy_changes_nothing(texts):
    assert await replayed(WordSafety(), *texts) == (1, 0, 0)
