"""Requests as plain OpenAI programs send them: what says nothing is no reason to refuse."""

import msgspec
import pytest

from gateway.http.openai_types import ChatCompletionRequest

ASKED = {"role": "user", "content": "Hello!"}
ANSWERED = {"role": "assistant", "content": "Hi."}


def read(**fields: object) -> ChatCompletionRequest:
    return msgspec.convert({"messages": [ASKED], **fields}, ChatCompletionRequest)


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0.0, "presence_penalty": 0.0},
        {"frequency_penalty": 0, "presence_penalty": None},
        {"stream": None},
        {"model": None},
        {"stream": True, "stream_options": {"include_usage": None}},
        {"messages": [ASKED, ANSWERED | {"tool_calls": None, "annotations": None, "refusal": None}, ASKED]},
        {"messages": [ASKED, ANSWERED | {"tool_calls": [], "annotations": [], "audio": None}, ASKED]},
        {"messages": [ASKED, ANSWERED | {"function_call": None}, ASKED]},
    ],
)
def test_what_says_nothing_is_taken(fields: dict[str, object]):
    assert read(**fields).messages[-1].text() == "Hello!"


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0.5},
        {"presence_penalty": -0.5},
        {"tools": []},
        {"messages": [ASKED, ANSWERED | {"tool_calls": [{"id": "a"}]}, ASKED]},
        {"messages": [ASKED, ANSWERED | {"audio": {"id": "a"}}, ASKED]},
    ],
)
def test_what_means_something_that_is_not_offered_is_refused(fields: dict[str, object]):
    with pytest.raises(msgspec.ValidationError):
        read(**fields)
