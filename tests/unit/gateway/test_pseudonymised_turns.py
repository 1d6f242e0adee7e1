"""A pseudonymised turn: the model sees placeholders, the person the real values, and the records both truly."""

from dataclasses import replace

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.record import Kind
from gateway.answer import Answer
from gateway.bulk import Bulk
from gateway.dialogue import examine_dialogue
from gateway.turn_events import Outcome, TextReleased
from inference.ports import Delta
from safety.parts import filters
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, complete, parse_policy
from tests.unit.gateway.turns import FixedPolicy, ScriptedModel, Trace, request, run, service
from tests.unit.safety.guards import BANDS

PHONE, CARD = "13800138000", "4111 1111 1111 1111"
QUESTION = f"Write to {PHONE} about card {CARD}; again: {PHONE}."
SENT = "Write to [PHONE_1] about card [CARD_NUMBER_1]; again: [PHONE_1]."


def pipeline():
    policy = yaml.safe_load(DEFAULT_POLICY.read_text("utf-8"))
    policy["rules"]["personal_data.cn_mobile"]["input"] = "pseudonymise"
    policy["rules"]["personal_data.bank_card"]["input"] = "pseudonymise"
    checked = complete(parse_policy(yaml.safe_dump(policy, allow_unicode=True)), BANDS)
    return Pipeline(filters(checked), checked)


SAFETY = pipeline()


def governed(trace, *deltas, **options):
    turns = service(trace, ScriptedModel(trace, *deltas, **options))
    return replace(turns, policy=FixedPolicy(SAFETY))


async def test_the_model_is_sent_placeholders_and_the_person_sees_the_values():
    trace = Trace()
    turns = governed(trace, "I wrote to [PHO", "NE_1]. The card [CARD_NUMBER", "_1] is noted")
    events = await run(turns, f"My number is {PHONE}.", "Noted: " + PHONE, QUESTION)
    [asked] = turns.model.asked
    assert [message.content for message in asked.messages] == ["My number is [PHONE_1].", "Noted: [PHONE_1]", SENT]
    shown = "".join(event.text for event in events if isinstance(event, TextReleased))
    assert shown == f"I wrote to {PHONE}. The card {CARD} is noted"
    accepted, closing = trace.entries[0], trace.entries[-1]
    assert (accepted.verdict, accepted.detail["pseudonyms"]) == ("pseudonymise", 2)
    assert {finding.action for finding in accepted.findings} == {"pseudonymise"}
    assert [content.text for content in accepted.dialogue][-1] == SENT
    assert [content.text for content in accepted.contents] == [QUESTION]
    assert closing.kind is Kind.TURN_COMPLETED
    assert closing.detail == {"restored": 2}
    generated = "I wrote to [PHONE_1]. The card [CARD_NUMBER_1] is noted"
    assert {content.name: content.text for content in closing.contents} == {"generated": generated}
    released = [entry for entry in trace.entries if entry.kind is Kind.TURN_RELEASED]
    assert "".join(entry.contents[0].text for entry in released) == shown
    assert closing.length == len(shown) == sum(entry.length for entry in released)
    assert [entry.offset for entry in released] == [0, released[0].length][: len(released)]


async def test_a_number_of_the_models_own_is_still_cut():
    trace = Trace()
    events = await run(governed(trace, "[PHONE_1] or 15912345678."), QUESTION)
    assert "".join(e.text for e in events if isinstance(e, TextReleased)) == f"{PHONE} or [PHONE]."


async def test_a_blocked_answer_withholds_what_was_held_as_a_placeholder():
    trace = Trace()
    long = "word " * 47 + "[PHO"
    events = await run(governed(trace, long, "\n<script>", "[JAILBREAK] x\nDAN: y\n\n", "DAN: ok"), QUESTION)
    closing = trace.entries[-1]
    assert events[-1].outcome is Outcome.BLOCKED
    texts = {content.name: content.text for content in closing.contents}
    shown = "".join(e.text for e in events if isinstance(e, TextReleased))
    assert shown + texts["withheld"] == texts["generated"]


ANSWER = (
    "你好。[PHONE_1] is one. [CARD_NUMBER_1][PHONE_1] and [PHONE_9], 15912345678! 电：[PHONE_1]，卡号[CARD_NUMBER_1"
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=len(ANSWER)), st.booleans())
async def test_whatever_the_chunking_the_person_sees_the_same(sizes, together):
    dialogue = await examine_dialogue(SAFETY, request(QUESTION), Bulk(1, 1))
    answer = Answer(safety=SAFETY, groups=(), limit_chars=10_000)
    answer.restorer = dialogue.pseudonyms.restorer()
    shown, at, turn = [], 0, 0
    chunks = []
    while at < len(ANSWER):
        size = sizes[turn % len(sizes)]
        chunks.append(Delta(text=ANSWER[at : at + size]))
        at, turn = at + size, turn + 1
    for batch in [chunks] if together else [[chunk] for chunk in chunks]:
        if (release := await answer.take(batch)) is not None:
            assert release.offset == sum(map(len, shown))
            shown.append(release.text)
        assert answer.text.endswith(answer.withheld)
    if (release := await answer.finish()) is not None:
        shown.append(release.text)
    expected = ANSWER.replace("15912345678", "[PHONE]").replace("[PHONE_1]", PHONE).replace("[CARD_NUMBER_1]", CARD)
    assert "".join(shown) == expected
    assert (answer.withheld, answer.delivered, answer.text) == ("", len(expected), ANSWER)
    assert answer.restorer.restored == 4
