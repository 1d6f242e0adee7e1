"""Tools in ChatGLM3's format: what is sent, what is read, and that nothing is ever evaluated."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chatglm3 import prompt
from inference.chatglm3.call_syntax import CallSyntaxError, parse, render
from inference.chatglm3.tokenizer import Tokenizer
from inference.chatglm3.tools import OFFER, ToolReply, spread
from inference.ports import Message, Role, Tool, ToolCall
from tests.unit.inference import tiny
from tests.unit.inference.reference import reference

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
WEATHER = Tool("get_weather", "Weather", '{"type": "object"}')


@given(arguments=st.dictionaries(TEXT | st.sampled_from(["city", "days"]), JSON, max_size=4))
def test_a_call_is_read_as_it_was_written(arguments):
    assert parse(render(arguments)) == arguments


@pytest.mark.parametrize("name", ["℘", "a·", "x" * 257, "²", "class", "a b", ""])
def test_a_name_that_is_hardly_one_is_read_as_it_was_written(name):
    assert parse(render({name: 1})) == {name: 1}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("tool_call()", {}),
        (" ```python\ntool_call(symbol='10111')\n```", {"symbol": "10111"}),
        ('```python\ntool_call(location="北京", unit="celsius",)\n```\n', {"location": "北京", "unit": "celsius"}),
        ("tool_call(a=-1, b=2.5e3, c=true, d=None, e=[1, 'x'], f={'k': (1, 2)})", {
            "a": -1, "b": 2500.0, "c": True, "d": None, "e": [1, "x"], "f": {"k": [1, 2]},
        }),
        ("tool_call(s='it\\'s \\u4f60\\x41\\n\\q')", {"s": "it's 你A\n\\q"}),
        ("tool_call(code='''a\nb''')", {"code": "a\nb"}),
        ("tool_call(**{'a b': 1})", {"a b": 1}),
    ],
)  # fmt: skip
def test_calls_that_models_write(text, arguments):
    assert parse(text) == arguments


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tool_call(",
        "tool_call(1)",
        "tool_call(a=open('/etc/passwd').read())",
        "tool_call(a=__import__('os'))",
        "tool_call(a=1+1)",
        "tool_call(a=f'{x}')",
        "tool_call(a=[x for x in y])",
        "tool_call(a=1); import os",
        "tool_call(a=1, a=2)",
        "tool_call(**{'a': 1}, a=2)",
        "tool_call(a={1: 2})",
        "tool_call(a=1e999)",
        "tool_call(a=" + "9" * 5000 + ")",
        "tool_call(a='\\ud800')",
        "tool_call(a='\\UFFFFFFFF')",
        "tool_call(a='line\nline')",
        "tool_call(a='open",
        "tool_call(a='open\\",
        "tool_call(a=" + "[" * 100_000,
        "tool_call(a=" + "-" * 100_000 + "1)",
        "tool_call(a=" + "{'a':" * 40 + "1" + "}" * 40 + ")",
        "eval(a=1)",
        "tool_call(a=lambda: 1)",
        "tool_call(a=1 b=2)",
        "x" * 100_000,
    ],
)
def test_anything_else_is_no_call(text):
    with pytest.raises(CallSyntaxError) as caught:
        parse(text)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("text", [" " * 64_000, "\n" * 64_000, " \n" * 1_000_000, "tool_call(" + " " * 64_000])
def test_blanks_are_seen_through_at_once(text):
    began = time.process_time()
    with pytest.raises(CallSyntaxError):
        parse(text)
    assert time.process_time() - began < 1


@given(text=st.text(alphabet="tool_call(a='\"[]{},:1-.e\\u\n`) =*TrueNone", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        json.dumps(parse("tool_call(" + text))
    except CallSyntaxError:
        return


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    path.write_bytes(tiny.sentencepiece_model())
    return Tokenizer(path)


def read(tokenizer, parts, offered=("get_weather",), stops=()):
    """Return text and calls of a reply whose parts are opened by the assistant's id."""
    reply = ToolReply(tokenizer, stops, frozenset(offered))
    shown = []
    for place, part in enumerate(parts):
        for index in [tokenizer.specials.assistant] * (place > 0) + tokenizer.encode(part):
            text, stopped = reply.push(index)
            shown.append(text)
            if stopped:
                return "".join(shown), reply.calls
    shown.append(reply.flush())
    return "".join(shown), [(call.name, json.loads(call.arguments)) for call in reply.calls]


CALL = "get_weather\n ```python\ntool_call(city='上海')\n```"


@pytest.mark.parametrize(
    ("parts", "text", "calls"),
    [
        (["\n Hello fox"], "Hello fox", []),
        ([CALL], "", [("get_weather", {"city": "上海"})]),
        (["\n I look it up.", CALL], "I look it up.", [("get_weather", {"city": "上海"})]),
        ([CALL, CALL], "", [("get_weather", {"city": "上海"})] * 2),
        (["other_tool\ntool_call(a=1)"], "other_tool\ntool_call(a=1)", []),
        (["get_weather\nI cannot."], "get_weather\nI cannot.", []),
        (["get_weather\ntool_call(a=open('x'))"], "get_weather\ntool_call(a=open('x'))", []),
        (["get_weather"], "get_weather", []),
        (["no line end " * 12], ("no line end " * 12), []),
        ([""], "", []),
    ],
)
def test_a_reply_is_text_or_calls(tokenizer, parts, text, calls):
    shown, found = read(tokenizer, parts)
    assert (shown.strip(), found) == (text.strip(), calls)


def test_a_stop_string_ends_the_text(tokenizer):
    assert read(tokenizer, ["\n the fox STOP and more"], stops=("STOP",)) == ("the fox ", ())


def test_tools_stand_in_the_first_system_message():
    asked = Message(Role.USER, "hi")
    ((offer,), (user,)) = spread((asked,), (WEATHER,))
    assert offer.message.role is Role.SYSTEM
    assert offer.message.content.startswith(OFFER + "\n[\n    {\n")
    assert json.loads(offer.message.content.removeprefix(OFFER)) == [
        {"name": "get_weather", "description": "Weather", "parameters": {"type": "object"}}
    ]
    assert user.message == asked
    own = spread((Message(Role.SYSTEM, "Be short."), asked), (WEATHER,))
    assert own[0][0].message.content.startswith("Be short.\n\n" + OFFER)
    assert len(own[0]) == 1
    assert spread((asked,), ())[0][0].message == asked


def test_a_call_and_its_result_are_the_published_prompt():
    """The same ids as the published code makes of the same dialogue."""
    tokenizer = Tokenizer(reference("tokenizer.model"))
    messages = (
        Message(Role.SYSTEM, "Answer with tools."),
        Message(Role.USER, "今天上海天气如何？"),
        Message(Role.ASSISTANT, "", (ToolCall("c", "get_weather", '{"city": "上海"}'),)),
        Message(Role.OBSERVATION, '{"temp": 21}'),
    )
    lines = [line for found in spread(messages, ()) for line in found]
    ids = prompt.join(tokenizer, [prompt.part(tokenizer, line.message, line.metadata) for line in lines])
    published = [
        Message(Role.SYSTEM, "Answer with tools."),
        Message(Role.USER, "今天上海天气如何？"),
        Message(Role.ASSISTANT, "```python\ntool_call(city='上海')\n```"),
        Message(Role.OBSERVATION, '{"temp": 21}'),
    ]
    assert ids == prompt.build(tokenizer, published, {2: "get_weather"})


@given(text=st.sampled_from(["<|observation|>", "<|user|>", "[gMASK]", "</s>"]))
def test_a_description_cannot_smuggle_special_tokens(tokenizer, text):
    tool = Tool("f", text, json.dumps({"description": text}))
    offer = spread((Message(Role.SYSTEM, text),), (tool,))[0][0]
    assert all(index < tokenizer.specials.pieces for index in prompt.part(tokenizer, offer.message)[1:])
