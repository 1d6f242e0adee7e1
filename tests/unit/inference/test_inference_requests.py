import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import completions
from inference.engine.base import ClosedError
from inference.errors import EngineFailedError, QueueFullError, RequestRefusedError
from inference.ports import Role, Tool, ToolCall
from inference.refusals import error_body
from inference.requests import MESSAGE_LIMIT, parse

SECRET = "s3cret"
USER = {"role": "user", "content": "hi"}


def body(**fields):
    return json.dumps({"model": "m", "messages": [USER], **fields}).encode()


DEEP: dict = {}
for _ in range(40):
    DEEP = {"a": DEEP}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
LARGE = [{"type": "function", "function": {"name": f"f{at}", "description": "d" * 8000}} for at in range(40)]


def call(arguments="{}"):
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_tools_and_what_they_said():
    parsed = parse(
        body(
            messages=[
                USER,
                {"role": "assistant", "content": None, "tool_calls": [call('{"city": "上海"}')]},
                {"role": "tool", "tool_call_id": "c1", "content": "21"},
            ],
            tools=[TOOL],
            tool_choice="auto",
            parallel_tool_calls=True,
            truncation="auto",
        )
    ).chat
    assert parsed.tools == (Tool("f", "d", '{"type":"object"}'),)
    assert parsed.messages[1].tool_calls == (ToolCall("c1", "f", '{"city":"上海"}'),)
    assert (parsed.messages[2].role, parsed.messages[2].tool_call_id) == (Role.OBSERVATION, "c1")
    assert parsed.drop_oldest
    assert parse(body(tools=[TOOL], tool_choice="none")).chat.tools == ()


def test_a_whole_request():
    parsed = parse(
        body(
            messages=[
                {"role": "developer", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": ""},
                {"role": "observation", "content": "x", "name": "n"},
            ],
            max_completion_tokens=5,
            temperature=0,
            top_p=1,
            stop="x",
            seed=3,
            stream=True,
            stream_options={"include_usage": True},
            n=1,
            tools=[],
            tool_choice="none",
            response_format={"type": "text"},
            user="someone",
        )
    )
    assert [message.role for message in parsed.chat.messages] == [
        Role.SYSTEM,
        Role.USER,
        Role.ASSISTANT,
        Role.OBSERVATION,
    ]
    assert parsed.chat.messages[1].content == "ab"
    assert (parsed.chat.max_tokens, parsed.chat.stop, parsed.chat.seed) == (5, ("x",), 3)
    assert (parsed.stream, parsed.include_usage) == (True, True)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"temperature": SECRET}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"top_p": 1.1}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 10**9}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_value"),
        ({"seed": 2**70}, "seed", "invalid_value"),
        ({"stop": ["a", ""]}, "stop[1]", "invalid_value"),
        ({"stop": ["a"] * 17}, "stop", "invalid_value"),
        ({"stop": "a" * 257}, "stop", "invalid_value"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": SECRET, "function": {"name": "f"}}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function", "function": {"name": "a\nb"}}]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [{"type": "function", "function": {"name": "a\n"}}]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "tools[1].function.name", "invalid_value"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": DEEP}}]},
            "tools[0].function.parameters",
            "invalid_value",
        ),
        ({"tools": [TOOL] * 129}, "tools", "invalid_value"),
        ({"tools": LARGE}, "tools", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "unsupported_parameter"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "unsupported_parameter"),
        ({"truncation": SECRET}, "truncation", "invalid_value"),
        (
            {"messages": [USER, {"role": "tool", "content": "x"}]},
            "messages[1].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {"messages": [USER, {"role": "tool", "content": "x", "tool_call_id": SECRET}]},
            "messages[1].tool_call_id",
            "invalid_value",
        ),
        ({"messages": [USER | {"tool_calls": [call()]}]}, "messages[0].tool_calls", "invalid_value"),
        *(
            (
                {"messages": [{"role": "assistant", "tool_calls": [call(arguments)]}]},
                "messages[0].tool_calls[0].function.arguments",
                "invalid_value",
            )
            for arguments in (SECRET, "[1]", "", json.dumps(DEEP), "[" * 100_000, '{"a": NaN}')
        ),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"presence_penalty": 0.1}, "presence_penalty", "unsupported_parameter"),
        ({"nonsense": 1}, "nonsense", "unknown_parameter"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": None}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": SECRET}, "messages", "invalid_value"),
        ({"messages": [USER] * (MESSAGE_LIMIT + 1)}, "messages", "invalid_value"),
        ({"messages": [{"role": SECRET, "content": "a"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "a\0"}]}, "messages[0].content", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": SECRET}]}]},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_is_quoted(fields, param, code):
    with pytest.raises(RequestRefusedError) as caught:
        parse(body(**fields))
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.status == 400
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n": 2}, "n is not offered here but for 1: leave it out."),
        ({"logit_bias": {"5": 1}}, "logit_bias is not offered here: leave it out."),
        ({"tool_choice": "required"}, 'tool_choice is not offered here but for "none" or "auto": leave it out.'),
        ({"truncation": "oldest"}, 'Only "auto" or "disabled" may stand here.'),
        ({"tools": [{"type": "x", "function": {"name": "f"}}]}, 'Only "function" may stand here.'),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 'Only "text" may stand here.'),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "Only text like [A-Za-z0-9_-]{1,64} may stand here.",
        ),
    ],
)
def test_a_refusal_says_what_would_be_right(fields, said):
    with pytest.raises(RequestRefusedError) as caught:
        parse(body(**fields))
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        body() + b"x",
        b"\xef\xbb\xbf{}",
        body(messages=[{"role": "user", "content": "\ud800"}]),
    ],
)
def test_a_body_that_is_no_request_is_refused(raw):
    with pytest.raises(RequestRefusedError):
        parse(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_parsed(raw):
    with pytest.raises(RequestRefusedError):
        parse(raw)


@given(
    st.dictionaries(
        st.sampled_from(
            ["temperature", "top_p", "stop", "seed", "max_tokens", "messages", "stream", "tools", "truncation", "zzz"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_any_json_is_refused_or_parsed(fields):
    try:
        parsed = parse(body(**fields))
    except RequestRefusedError:
        return
    assert parsed.chat.messages


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
        ({"prompt": [2**40]}, "prompt[0]", "invalid_value"),
        ({"prompt": [1.5]}, "prompt[0]", "invalid_value"),
        ({"prompt": [1, "a"]}, "prompt", "invalid_value"),
        ({"prompt": ["a", "b"]}, "prompt", "invalid_value"),
        ({"prompt": [[]]}, "prompt", "invalid_value"),
        ({"prompt": [[1], [2]]}, "prompt", "invalid_value"),
        ({"prompt": "a\0"}, "prompt", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"echo": True}, "echo", "unsupported_parameter"),
        ({"logprobs": 0}, "logprobs", "unsupported_parameter"),
        ({"ignore_eos": SECRET}, "ignore_eos", "invalid_value"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        ({"messages": [USER]}, "messages", "unknown_parameter"),
    ],
)
def test_a_wrong_parameter_of_a_completion_is_named(fields, param, code):
    with pytest.raises(RequestRefusedError) as caught:
        completions.parse(json.dumps({"model": "m", "prompt": [1]} | fields).encode())
    assert (caught.value.param, caught.value.code) == (param, code)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "read"), [([5, 6], (5, 6)), ([[5, 6]], (5, 6)), ("text", "text"), (["text"], "text"), ("", "")]
)
def test_a_prompt_is_a_text_or_token_ids(given, read):
    assert completions.parse(json.dumps({"model": "m", "prompt": given}).encode()).completion.prompt == read


@pytest.mark.parametrize(
    ("error", "code"), [(QueueFullError(), "overloaded"), (EngineFailedError(), "failed"), (ClosedError(), "failed")]
)
def test_only_a_full_queue_is_called_overloaded(error, code):
    assert error.retry_after
    assert error_body(error).error.code == code
