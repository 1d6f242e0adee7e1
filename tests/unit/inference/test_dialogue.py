"""What becomes of a dialogue that is longer than the context."""

import pytest

from inference.chatglm3 import prompt
from inference.engine import dialogue
from inference.errors import ContextOverflowError, RequestRefusedError
from inference.ports import ChatRequest, Message, Role, Tool, ToolCall

SYSTEM = Message(Role.SYSTEM, "be short")
LONG = "The quick brown fox jumps over the lazy dog. " * 2


def turns(count):
    found = [SYSTEM]
    for place in range(count):
        found += [Message(Role.USER, f"{place} {LONG}"), Message(Role.ASSISTANT, f"answer {place}")]
    return (*found, Message(Role.USER, "and now?"))


@pytest.fixture
def tokenizer(tiny_checkpoint):
    return tiny_checkpoint.tokenizer


def asked(messages, **fields):
    return ChatRequest("tiny", tuple(messages), **fields)


def test_by_default_it_is_refused(tokenizer):
    with pytest.raises(ContextOverflowError):
        dialogue.read(tokenizer, asked(turns(20)), 256)


def test_the_oldest_turns_go_and_the_system_message_stays(tokenizer):
    messages = turns(20)
    found = dialogue.read(tokenizer, asked(messages, drop_oldest=True, max_tokens=20), 256)
    kept = (SYSTEM, *messages[1 + found.left_out :])
    assert found.left_out > 0
    assert found.left_out % 2 == 0, "a question goes with its answer"
    assert found.ids == prompt.build(tokenizer, kept)
    assert len(found.ids) <= 256 - 20
    more = (SYSTEM, *messages[1 + found.left_out - 2 :])
    assert len(prompt.build(tokenizer, more)) > 256 - 20, "one more turn would not have fitted"


def test_what_fits_is_left_whole(tokenizer):
    messages = turns(1)
    found = dialogue.read(tokenizer, asked(messages, drop_oldest=True), 256)
    assert (found.ids, found.left_out) == (prompt.build(tokenizer, messages), 0)


def test_room_stays_for_an_answer_but_at_most_a_quarter(tokenizer):
    found = dialogue.read(tokenizer, asked(turns(20), drop_oldest=True, max_tokens=100_000), 256)
    assert 0 < len(found.ids) <= 192


@pytest.mark.parametrize(
    "messages",
    [
        [Message(Role.SYSTEM, LONG * 9), Message(Role.USER, "x")],
        [SYSTEM, Message(Role.USER, "x"), Message(Role.USER, LONG * 9)],
        [Message(Role.USER, "你" * 1_000_000)],
    ],
)
def test_what_can_never_fit_is_refused(tokenizer, messages):
    with pytest.raises(ContextOverflowError):
        dialogue.read(tokenizer, asked(messages, drop_oldest=True), 256)


def test_a_result_never_loses_its_call(tokenizer):
    turn = [
        Message(Role.USER, "weather"),
        Message(Role.ASSISTANT, "", (ToolCall("c", "get_weather", '{"city": "x"}'),)),
        Message(Role.OBSERVATION, LONG, tool_call_id="c"),
        Message(Role.ASSISTANT, "fine"),
    ]
    found = dialogue.read(tokenizer, asked([*turn * 5, Message(Role.USER, "x")], drop_oldest=True), 256)
    assert found.left_out % 4 == 0
    assert 0 < found.left_out < 20


@pytest.mark.parametrize("own", [(), (SYSTEM,)])
def test_tools_stay_on_offer_when_turns_go(tokenizer, own):
    fields = {"tools": (Tool("f", "d"),), "drop_oldest": True, "max_tokens": 20}
    found = dialogue.read(tokenizer, asked((*own, *turns(20)[1:]), **fields), 512)
    assert '"name": "f"' in tokenizer.decode(found.ids)
    assert 0 < found.left_out < 40
    assert found.left_out % 2 == 0, "the offer is no message"
    assert len(found.ids) <= 512 - 20


def test_a_dialogue_of_a_million_characters_is_not_encoded(tokenizer, monkeypatch):
    encoded = []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda text: (encoded.append(len(text)), encode(text))[1])
    messages = [Message(Role.USER, "x" * 1_000_000), Message(Role.ASSISTANT, "y"), Message(Role.USER, "now")]
    assert dialogue.read(tokenizer, asked(messages, drop_oldest=True), 256).left_out == 2
    assert sum(encoded) < 100


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"tools": (Tool("f", "", '{"x": ' + "[" * 30 + ",".join("0" * 9000) + "]" * 30 + "}"),)},
        {"messages": (Message(Role.ASSISTANT, "", (ToolCall("c", "f", f'{{"x": "{"y" * 9000}"}}'),)),)},
    ],
)
def test_tools_and_calls_that_can_never_fit_are_not_encoded(tokenizer, monkeypatch, fields, drop):
    monkeypatch.setattr(tokenizer, "encode", lambda _: pytest.fail("this is encoded"))
    with pytest.raises(ContextOverflowError):
        dialogue.read(tokenizer, asked(**{"messages": [Message(Role.USER, "x")]} | fields, drop_oldest=drop), 256)


def test_a_lone_surrogate_is_refused(tokenizer):
    for drop in (False, True):
        with pytest.raises(RequestRefusedError, match="Unicode"):
            dialogue.read(tokenizer, asked([Message(Role.USER, "\ud800")], drop_oldest=drop), 256)
