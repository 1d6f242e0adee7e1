"""The decode loop: batch-mates, limits, cancellation, failure."""

import asyncio
import time

import pytest
import torch

from inference.chatglm3.loader import load
from inference.engine import batch, dialogue, slots
from inference.engine.sampling import Sampler
from inference.errors import (
    ContextOverflowError,
    EngineFailedError,
    QueueFullError,
    RequestRefusedError,
    UnknownModelError,
)
from inference.ports import ChatRequest, Delta, FinishReason, InferenceError, Message, Role
from tests.unit.inference.batches import ask, drain, request, running, until, various
from tests.unit.inference.tiny import CONTEXT


async def test_batch_mates_never_change_an_answer(tiny_checkpoint):
    wanted = various(8)
    async with running(tiny_checkpoint, chunk=16) as engine:
        alone = [await ask(engine, one) for one in wanted]
        together = await asyncio.gather(*(ask(engine, one) for one in wanted))
        backwards = await asyncio.gather(*(ask(engine, one) for one in reversed(wanted)))
    assert together == alone
    assert backwards[::-1] == alone
    assert len({text for text, *_ in alone}) == 8


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
async def test_quantised_weights_answer_the_same_alone_and_among_others_with_outliers(quantised_folders, bits, dtype):
    """Others have activations 10,000 times as large: neither scales nor kernels are shared."""
    checkpoint = load(quantised_folders[bits], dtype)
    embedding = checkpoint.model.model.embed_tokens.weight
    special = checkpoint.tokenizer.encode("q")[-1]
    embedding[special] = embedding[special] * 1e4
    wanted = [*various(5), *(request("q" * place + " hello", max_tokens=25) for place in (1, 4, 9))]
    async with running(checkpoint, chunk=16) as engine:
        alone = [await ask(engine, one) for one in wanted]
        assert engine._loop._quantum == 1, "no row of zeros is needed beside a single one"
        together = await asyncio.gather(*(ask(engine, one) for one in wanted))
    assert together == alone
    assert len({text for text, *_ in alone}) > 5


async def test_weights_in_float16_answer_the_same_alone_and_among_others(tiny_folder):
    wanted = various(6)
    async with running(load(tiny_folder, "float16"), chunk=16) as engine:
        alone = [await ask(engine, one) for one in wanted]
        assert engine._loop._quantum == 1
        assert await asyncio.gather(*(ask(engine, one) for one in wanted)) == alone


async def test_outliers_in_the_batch_change_nothing(tiny_checkpoint):
    mates = [request("\U0001f600" * 20 + "\x7f" * 9, max_tokens=40, temperature=2.0, seed=place) for place in range(7)]
    async with running(tiny_checkpoint) as engine:
        alone = await ask(engine, request(max_tokens=30))
        together, *_ = await asyncio.gather(ask(engine, request(max_tokens=30)), *(ask(engine, one) for one in mates))
    assert together == alone


async def test_greedy_equals_a_plain_loop_over_the_whole_text(tiny_checkpoint):
    """No cache, no batch: the next token of the whole text, again and again."""
    model, tokenizer = tiny_checkpoint.model, tiny_checkpoint.tokenizer
    async with running(tiny_checkpoint, chunk=8) as engine:
        text, finish, usage = await ask(engine, request("The quick brown fox", max_tokens=12))
        ids = dialogue.read(tokenizer, request("The quick brown fox"), CONTEXT).ids
    assert usage.prompt_tokens == len(ids)
    model.set_attn_implementation("eager")
    produced = []
    with torch.inference_mode():
        for _ in range(usage.completion_tokens):
            logits = model(torch.tensor([ids + produced])).logits[0, -1]
            logits[tokenizer.specials.pieces :] = float("-inf")
            produced.append(int(logits.argmax()))
    assert finish is FinishReason.LENGTH
    assert text == tokenizer.decode(produced).lstrip()


async def test_seed_and_temperature(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        same = [await ask(engine, request(temperature=1.0, seed=7, max_tokens=20)) for _ in range(2)]
        other = await ask(engine, request(temperature=1.0, seed=8, max_tokens=20))
        unseeded = [await ask(engine, request(temperature=1.0, max_tokens=20)) for _ in range(2)]
        narrow = await ask(engine, request(temperature=1.0, top_p=1e-6, seed=1, max_tokens=20))
        greedy = await ask(engine, request(max_tokens=20))
    assert same[0] == same[1] != other
    assert unseeded[0] != unseeded[1]
    assert narrow == greedy


async def test_stop_string_ends_the_answer_before_it(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        whole, *_ = await ask(engine, request(max_tokens=30))
        stop = whole[5:8]
        text, finish, usage = await ask(engine, request(max_tokens=30, stop=("never there", stop)))
    assert text == whole[: whole.index(stop)]
    assert finish is FinishReason.STOP
    assert usage.completion_tokens < 30


@pytest.mark.parametrize("kind", ["eos", "user", "observation"])
async def test_stop_ids_end_the_answer(tiny_checkpoint, kind):
    wanted = getattr(tiny_checkpoint.tokenizer.specials, kind)
    async with running(tiny_checkpoint) as engine:
        engine._bias[wanted] = 1e9
        text, finish, usage = await ask(engine, request(max_tokens=30))
    assert (text, finish, usage.completion_tokens) == ("", FinishReason.STOP, 1)


async def test_an_answer_ends_where_the_context_ends(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        _, finish, usage = await ask(engine, request(max_tokens=100_000))
    assert finish is FinishReason.LENGTH
    assert usage.prompt_tokens + usage.completion_tokens == CONTEXT


@pytest.mark.parametrize("text", ["fox " * 300, "你" * CONTEXT, "x" * 1_000_000, "\U0001f9ff" * 1_000_000])
async def test_a_prompt_too_long_is_refused_and_hurts_nobody(tiny_checkpoint, text):
    async with running(tiny_checkpoint) as engine:
        other = asyncio.create_task(ask(engine, request(max_tokens=30)))
        with pytest.raises(ContextOverflowError) as caught:
            await ask(engine, request(text))
        assert (caught.value.code, caught.value.status) == ("context_length_exceeded", 400)
        assert (await other)[1] is FinishReason.LENGTH


async def test_refusals(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        with pytest.raises(UnknownModelError):
            await ask(engine, ChatRequest(model="other", messages=(Message(Role.USER, "x"),)))
        with pytest.raises(RequestRefusedError, match="Unicode"):
            await ask(engine, request("\ud800"))
    with pytest.raises(InferenceError, match="not running"):
        await ask(engine, request())
    with pytest.raises(InferenceError, match="not running"):
        await engine.models()


async def test_a_full_queue_is_named_and_a_place_serves_the_next(tiny_checkpoint):
    async with running(tiny_checkpoint, places=1, queue=1) as engine:
        first = engine.stream(request(max_tokens=200))
        await anext(first)
        second = asyncio.create_task(ask(engine, request(max_tokens=3)))
        await until(lambda: engine.load().waiting == 1)
        with pytest.raises(QueueFullError) as caught:
            await ask(engine, request())
        assert caught.value.retry_after == 1
        await first.aclose()
        assert (await second)[2].completion_tokens == 3
        await until(lambda: engine.load().running == 0)


async def test_a_request_given_up_while_it_waits_frees_its_place_in_the_queue(tiny_checkpoint):
    async with running(tiny_checkpoint, places=1, queue=1) as engine:
        first = engine.stream(request(max_tokens=240))
        await anext(first)
        second = asyncio.create_task(ask(engine, request()))
        await until(lambda: engine.load().waiting == 1)
        second.cancel()
        await until(lambda: engine.load().waiting == 0)
        assert engine.load().running == 1
        await first.aclose()


async def test_closing_the_stream_cancels(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        stream = engine.stream(request(max_tokens=240))
        assert isinstance(await anext(stream), Delta)
        assert engine.load().running == 1
        await stream.aclose()
        await until(lambda: engine.load().running == 0)
        memory_free = await ask(engine, request(max_tokens=3))
    assert memory_free[2].completion_tokens == 3


async def test_a_failing_loop_names_it_and_starts_again(tiny_checkpoint, monkeypatch):
    async with running(tiny_checkpoint) as engine:
        stream = engine.stream(request(max_tokens=200))
        await anext(stream)

        def broken(*_):
            raise RuntimeError("the prompt was: secret")

        with monkeypatch.context() as patch:
            patch.setattr(slots, "decode", broken)
            with pytest.raises(EngineFailedError) as caught:
                await drain(stream)
        assert "secret" not in str(caught.value)
        assert engine.load().restarts >= 1
        assert (await ask(engine, request(max_tokens=3)))[2].completion_tokens == 3
        assert engine.load().ready


async def test_stopping_ends_running_streams_with_an_error(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        stream = engine.stream(request(max_tokens=240))
        await anext(stream)
    with pytest.raises(InferenceError, match="not running"):
        await drain(stream)


async def test_one_request_that_fails_is_alone_with_it(tiny_checkpoint, monkeypatch):
    async with running(tiny_checkpoint) as engine:
        mate = asyncio.create_task(ask(engine, request(max_tokens=60)))
        await until(lambda: engine.load().decode_steps > 3)
        choose = Sampler.choose

        def poisoned(sampler, logits):
            if sampler._temperature > 1:
                raise RuntimeError("probability tensor contains nan: secret")
            return choose(sampler, logits)

        monkeypatch.setattr(Sampler, "choose", poisoned)
        with pytest.raises(EngineFailedError) as caught:
            await ask(engine, request(temperature=1.5, max_tokens=5))
        assert "secret" not in str(caught.value)
        assert (await mate)[2].completion_tokens == 60
        assert (engine.load().restarts, engine.load().running) == (0, 0)


async def test_a_loop_that_dies_of_anything_is_run_again(tiny_checkpoint, monkeypatch):
    async with running(tiny_checkpoint) as engine:
        with monkeypatch.context() as patch:

            def dying(*_):
                raise SystemExit

            patch.setattr(slots, "decode", dying)
            with pytest.raises(EngineFailedError):
                await ask(engine, request())
        assert engine.load().restarts == 1
        assert (await ask(engine, request(max_tokens=3)))[2].completion_tokens == 3


async def test_a_hung_loop_is_not_ready(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(batch, "_STALLED_S", 0.05)
    step = slots.decode
    async with running(tiny_checkpoint) as engine:
        assert engine.load().ready
        monkeypatch.setattr(slots, "decode", lambda *given: (time.sleep(0.3), step(*given))[1])
        task = asyncio.create_task(ask(engine, request(max_tokens=2)))
        await until(lambda: not engine.load().ready)
        await task
        await until(lambda: engine.load().ready)


async def test_a_request_larger_than_the_memory_is_refused_and_one_that_fits_waits(tiny_checkpoint):
    async with running(tiny_checkpoint, cache_tokens=64) as engine:
        with pytest.raises(ContextOverflowError):
            await ask(engine, request("The quick brown fox jumps over the lazy dog. " * 4))
        first = engine.stream(request(max_tokens=50))
        await anext(first)
        assert engine.load().cache_tokens <= engine.load().cache_limit == 64
        second = asyncio.create_task(ask(engine, request(max_tokens=40)))
        await until(lambda: engine.load().waiting == 1)
        assert engine.load().running == 1
        await drain(first)
        assert (await second)[2].completion_tokens == 40


async def test_the_context_of_one_request_can_be_limited(tiny_checkpoint):
    async with running(tiny_checkpoint, context=40) as engine:
        _, finish, usage = await ask(engine, request(max_tokens=1000))
        assert finish is FinishReason.LENGTH
        assert usage.prompt_tokens + usage.completion_tokens == 40


async def test_the_last_stretch_says_where_the_time_went(tiny_checkpoint):
    async with running(tiny_checkpoint) as engine:
        last = (await drain(engine.stream(request(max_tokens=5))))[-1]
    assert 0 <= last.timing.queued_s <= last.timing.first_s
    assert last.timing.decode_s > 0


async def test_an_answer_that_ended_keeps_no_memory_until_it_is_read(tiny_checkpoint, monkeypatch):
    jobs = []
    submit = batch.BatchLoop.submit
    monkeypatch.setattr(batch.BatchLoop, "submit", lambda loop, job: (jobs.append(job), submit(loop, job))[1])
    async with running(tiny_checkpoint, places=1, queue=4) as engine:
        streams = [engine.stream(request(max_tokens=5)) for _ in range(3)]
        for stream in streams:
            await anext(stream)
            await until(lambda: not engine.load().running)
        assert len(jobs) == 3
        assert all(job.memory is None and job.reading is None for job in jobs)
        for stream in streams:
            assert (await drain(stream))[-1].finish_reason
