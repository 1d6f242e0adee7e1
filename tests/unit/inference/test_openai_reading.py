"""An answer as another server sends it: what is kept of it, and how much."""

import json
import tracemalloc

import pytest

from inference.openai_reading import AnswerReader
from inference.ports import FinishReason, InferenceError, ToolCall


def event(*pieces) -> bytes:
    return json.dumps({"choices": [{"delta": {"tool_calls": list(pieces)}}]}).encode()


def piece(arguments, index=0, **fields):
    return {"index": index, "function": {"arguments": arguments} | fields}


def test_calls_are_put_together_from_their_pieces():
    reader = AnswerReader(tools=True)
    for one in (
        event({"id": "a"} | piece("", name="get_weather"), {"id": "b"} | piece('{"x"', 1, name="get_rate")),
        event(piece('{"city": '), piece(": 1}", 1)),
        event(piece('"x"}'), {"index": 1}),
    ):
        assert reader.take(one) == ""
    assert reader.delta().tool_calls == (
        ToolCall("a", "get_weather", '{"city": "x"}'),
        ToolCall("b", "get_rate", '{"x": 1}'),
    )
    assert reader.delta().finish_reason is FinishReason.TOOL_CALLS


def test_calls_that_nobody_asked_for_are_not_kept():
    reader, sent = AnswerReader(tools=False), event(piece("x" * 200_000))
    tracemalloc.start()
    try:
        for _ in range(40):
            reader.take(sent)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert reader.delta().tool_calls == ()


def test_arguments_without_end_are_cut_off():
    reader = AnswerReader(tools=True)
    for index in range(5):
        reader.take(event(piece("x" * 200_000, index)))
    with pytest.raises(InferenceError, match="more than it may"):
        reader.take(event(piece("x" * 200_000)))
