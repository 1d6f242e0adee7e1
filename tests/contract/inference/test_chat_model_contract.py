"""What every `ChatModel` promises."""

import asyncio
import json

import pytest

from inference.engine.sampling import Sampler
from inference.errors import ContextOverflowError, RequestRefusedError
from inference.forbidden import digest
from inference.ports import (
    ChatRequest,
    Delta,
    FinishReason,
    ForbiddenWords,
    InferenceError,
    Message,
    Role,
    Tool,
    ToolCall,
)
from tests.contract.inference.conftest import CONTEXT


def request(text="hello", **fields):
    return ChatRequest(**({"model": "tiny", "messages": (Message(Role.USER, text),), "temperature": 0.0} | fields))


async def collect(stream) -> list[Delta]:
    return [delta async for delta in stream]


async def idle(engine):
    async with asyncio.timeout(10):
        while engine.load().running:  # noqa: ASYNC110 - the engine runs in another thread
            await asyncio.sleep(0.005)


async def test_it_names_its_model_with_a_revision(chat_model):
    model, _ = chat_model
    (info,) = await model.models()
    assert info.name == "tiny"
    assert info.revision.startswith("sha256:")


async def test_an_answer_in_stretches_ends_with_reason_and_usage(chat_model):
    model, _ = chat_model
    deltas = await collect(model.stream(request(max_tokens=12), headers={"traceparent": "00-" + "a" * 32 + "-b-01"}))
    assert "".join(delta.text for delta in deltas)
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert len(deltas) > 2
    assert deltas[-1].finish_reason is FinishReason.LENGTH
    assert deltas[-1].usage.completion_tokens == 12
    assert deltas[-1].usage.prompt_tokens > 0


async def test_the_same_request_gives_the_same_answer(chat_model):
    model, _ = chat_model
    wanted = request(max_tokens=12, seed=5, temperature=0.9)
    answers = ["".join(delta.text for delta in await collect(model.stream(wanted))) for _ in range(2)]
    assert answers[0] == answers[1]


async def test_concurrent_answers_do_not_mix(chat_model):
    model, _ = chat_model
    wanted = [request(f"number {place} fox", max_tokens=12) for place in range(4)]
    alone = ["".join(delta.text for delta in await collect(model.stream(one))) for one in wanted]
    together = await asyncio.gather(*(collect(model.stream(one)) for one in wanted))
    assert ["".join(delta.text for delta in deltas) for deltas in together] == alone


async def test_a_stop_string_ends_the_answer(chat_model):
    model, _ = chat_model
    whole = "".join(delta.text for delta in await collect(model.stream(request(max_tokens=12))))
    stop = whole[4:6]
    deltas = await collect(model.stream(request(max_tokens=12, stop=(stop,))))
    assert "".join(delta.text for delta in deltas) == whole[: whole.index(stop)]
    assert deltas[-1].finish_reason is FinishReason.STOP


async def test_closing_the_stream_frees_the_engine(chat_model):
    model, engine = chat_model
    stream = model.stream(request(max_tokens=200))
    await anext(stream)
    assert engine.load().running == 1
    await stream.aclose()
    await idle(engine)


async def test_a_cancelled_task_frees_the_engine(chat_model):
    model, engine = chat_model
    begun = asyncio.Event()

    async def read():
        async for _ in model.stream(request(max_tokens=200)):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await idle(engine)


@pytest.fixture
def played(monkeypatch):
    """Have the torch engine choose given ids, whatever the model says; the scripted one has its script."""

    def play(ids):
        left = iter(ids)
        monkeypatch.setattr(Sampler, "choose", lambda *_: next(left))

    return play


TOOLS = (Tool("get_weather", "Weather of a city", '{"type": "object", "properties": {"city": {"type": "string"}}}'),)


async def test_a_tool_is_called_with_arguments_as_json(chat_model, checkpoint, played):
    model, _ = chat_model
    tokenizer = checkpoint.tokenizer
    played(
        [
            *tokenizer.encode("\n Let me see."),
            tokenizer.specials.assistant,
            *tokenizer.encode("get_weather\n"),
            *tokenizer.encode("```python\ntool_call(city='上海', days=2)\n```"),
            tokenizer.specials.observation,
        ]
    )
    deltas = await collect(model.stream(request("weather", tools=TOOLS)))
    assert "".join(delta.text for delta in deltas).strip() == "Let me see."
    (call,) = (call for delta in deltas for call in delta.tool_calls)
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "上海", "days": 2})
    assert call.id
    assert deltas[-1].finish_reason is FinishReason.TOOL_CALLS


async def test_what_a_tool_said_goes_back_to_the_model(chat_model):
    model, _ = chat_model
    messages = (
        Message(Role.USER, "weather"),
        Message(Role.ASSISTANT, "", (ToolCall("call_1", "get_weather", '{"city": "上海"}'),)),
        Message(Role.OBSERVATION, '{"temp": 21}', tool_call_id="call_1"),
    )
    deltas = await collect(model.stream(request(messages=messages, tools=TOOLS, max_tokens=4)))
    assert deltas[-1].finish_reason in {FinishReason.LENGTH, FinishReason.STOP}


async def test_an_unknown_model_is_refused(chat_model):
    model, _ = chat_model
    with pytest.raises(RequestRefusedError) as caught:
        await collect(model.stream(request(model="another")))
    assert (caught.value.code, caught.value.status, caught.value.param) == ("model_not_found", 404, "model")


async def test_a_prompt_too_long_is_refused(chat_model):
    model, _ = chat_model
    with pytest.raises(RequestRefusedError) as caught:
        await collect(model.stream(request("fox " * CONTEXT * 4)))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert isinstance(caught.value, ContextOverflowError)
    assert "fox" not in str(caught.value)


async def test_a_stopped_engine_is_an_inference_error(chat_model):
    model, engine = chat_model
    await engine.close()
    with pytest.raises(InferenceError):
        await collect(model.stream(request()))


async def test_an_answer_is_stopped_at_a_forbidden_word(chat_model):
    """Whatever tokens it is made of; the word is the last that is said, and the rule is named with it."""
    model, engine = chat_model
    (info,) = await model.models()
    assert info.stops_words
    assert info.context == CONTEXT
    whole = "".join(delta.text for delta in await collect(model.stream(request(max_tokens=40))))
    han = [char for char in whole[4:-4] if "\u4e00" <= char <= "\u9fff"]
    word = han[0] if han else whole.split()[2]
    forbidden = (ForbiddenWords("company.none", ("absent",)), ForbiddenWords("company.projects", (word.upper(),)))
    deltas = await collect(model.stream(request(max_tokens=40, forbidden=forbidden)))
    said = "".join(delta.text for delta in deltas)
    assert word in said
    assert len(said) < len(whole)
    assert whole.startswith(said)
    assert (deltas[-1].finish_reason, deltas[-1].stopped_by) == (FinishReason.CONTENT_FILTER, "company.projects")
    assert all(delta.lexicon == digest(forbidden) for delta in deltas)
    assert next(delta.stopped_by for delta in deltas if word in said and delta.stopped_by) == "company.projects"
    await idle(engine)


async def test_words_that_do_not_occur_change_nothing(chat_model):
    model, _ = chat_model
    whole = "".join(delta.text for delta in await collect(model.stream(request(max_tokens=12))))
    forbidden = (ForbiddenWords("company.projects", ("Nightingale", "夜莺计划")),)
    deltas = await collect(model.stream(request(max_tokens=12, forbidden=forbidden)))
    assert "".join(delta.text for delta in deltas) == whole
    assert (deltas[-1].finish_reason, deltas[-1].stopped_by) == (FinishReason.LENGTH, "")
