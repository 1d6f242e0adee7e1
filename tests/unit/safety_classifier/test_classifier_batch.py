"""The batcher: shared runs, failures kept apart, a bounded cache."""

import asyncio
import threading
import time

import numpy as np
import pytest

from safety.classifier.batch import GATHERED, Batcher, BatcherClosedError
from safety.classifier.onnx import BATCH_TOKENS, PADDING, SLACK, grouped


class Recording:
    """A model whose logits say what was judged; it can fail or hold."""

    def __init__(self):
        self.runs = []
        self.hold = threading.Event()
        self.hold.set()

    def run(self, sequences):
        self.hold.wait(5)
        self.runs.append([len(ids) for ids in sequences])
        if any(13 in ids for ids in sequences):
            raise FloatingPointError
        return np.stack([np.full(9, float(ids[0]), np.float32) for ids in sequences])


@pytest.fixture
async def model():
    return Recording()


@pytest.fixture
async def batcher(model):
    made = Batcher(model, cached=50)
    yield made
    model.hold.set()
    await made.close()


def sequence(first, length=5):
    return np.array([first] + [1] * (length - 1))


async def test_answers_keep_their_order_and_duplicates_run_once(batcher, model):
    logits = await batcher.judge([sequence(3), sequence(2, 40), sequence(3)])
    assert logits[:, 0].tolist() == [3, 2, 3]
    assert sum(len(run) for run in model.runs) == 2


async def test_known_sequences_do_not_run_again(batcher, model):
    await batcher.judge([sequence(3)])
    assert (await batcher.judge([sequence(3)]))[0, 0] == 3
    assert len(model.runs) == 1


async def test_no_sequences_no_run(batcher, model):
    assert (await batcher.judge([])).shape == (0, 9)
    assert model.runs == []


async def test_concurrent_calls_share_runs(batcher, model):
    model.hold.clear()
    calls = [asyncio.create_task(batcher.judge([sequence(number + 20)])) for number in range(32)]
    await asyncio.sleep(0.05)
    model.hold.set()
    results = await asyncio.gather(*calls)
    assert [int(row[0, 0]) for row in results] == list(range(20, 52))
    assert len(model.runs) <= 1 + 32 / GATHERED


async def test_a_failed_batch_fails_only_its_own_calls(batcher, model):
    model.hold.clear()
    first = asyncio.create_task(batcher.judge([sequence(2)]))
    await asyncio.sleep(0.05)
    bad = asyncio.create_task(batcher.judge([sequence(13)]))
    good = asyncio.create_task(batcher.judge([sequence(4, 100)]))
    await asyncio.sleep(0.05)
    model.hold.set()
    with pytest.raises(FloatingPointError):
        await bad
    assert (await first)[0, 0] == 2
    assert (await good)[0, 0] == 4
    assert (await batcher.judge([sequence(5)]))[0, 0] == 5


async def test_a_cancelled_call_does_not_stop_the_others(batcher, model):
    model.hold.clear()
    gone = asyncio.create_task(batcher.judge([sequence(2)]))
    await asyncio.sleep(0.02)
    waiting = asyncio.create_task(batcher.judge([sequence(3)]))
    queued_and_gone = asyncio.create_task(batcher.judge([sequence(4)]))
    await asyncio.sleep(0.02)
    gone.cancel()
    queued_and_gone.cancel()
    model.hold.set()
    assert (await waiting)[0, 0] == 3


async def test_the_cache_is_bounded(batcher):
    for start in range(0, 200, 20):
        await batcher.judge([sequence(number + 100) for number in range(start, start + 20)])
    assert batcher.cached == 50


async def test_a_closed_batcher_says_so():
    made = Batcher(Recording())
    await made.close()
    await made.close()
    with pytest.raises(BatcherClosedError):
        await made.judge([sequence(1)])


async def test_the_event_loop_runs_on_while_the_model_runs(batcher, model):
    model.hold.clear()
    call = asyncio.create_task(batcher.judge([sequence(2)]))
    began = time.monotonic()
    await asyncio.sleep(0.02)
    assert time.monotonic() - began < 1
    assert not call.done()
    model.hold.set()
    await call


def test_groups_hold_like_lengths_and_stay_small():
    lengths = [5, 128, 7, 60, 61, 6, 128, 128, 128, 128, 128, 128]
    groups = grouped(lengths)
    assert sorted(at for group in groups for at in group) == list(range(len(lengths)))
    for group in groups:
        widths = [lengths[at] for at in group]
        assert max(widths) <= min(widths) * PADDING + SLACK
        assert len(group) == 1 or max(widths) * len(group) <= BATCH_TOKENS


async def test_workers_run_side_by_side_and_all_end():
    meeting = threading.Barrier(2, timeout=5)

    class Meeting(Recording):
        def run(self, sequences):
            meeting.wait()  # passes only when two runs are under way at once
            return super().run(sequences)

    batcher = Batcher(Meeting(), workers=2)
    first = asyncio.create_task(batcher.judge([sequence(3)]))
    await asyncio.sleep(0.05)
    second = await batcher.judge([sequence(4)])
    assert ((await first)[0, 0], second[0, 0]) == (3, 4)
    await batcher.close()
    with pytest.raises(BatcherClosedError):
        await batcher.judge([sequence(5)])


async def test_calls_from_two_event_loops_get_their_own_answers(batcher, model):
    model.hold.clear()
    elsewhere = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run(batcher.judge([sequence(7)]))),
    )
    here = asyncio.create_task(batcher.judge([sequence(8)]))
    await asyncio.sleep(0.05)
    model.hold.set()
    assert ((await here)[0, 0], (await elsewhere)[0, 0]) == (8, 7)


async def test_a_long_text_is_shared_by_the_workers():
    meeting = threading.Barrier(2)

    class Meeting:
        """A model whose runs only end two at a time."""

        def run(self, sequences):
            meeting.wait(5)
            return np.stack([np.full(9, float(ids[0]), np.float32) for ids in sequences])

    batcher = Batcher(Meeting(), workers=2)
    texts = [sequence(at, BATCH_TOKENS) for at in range(2 * GATHERED)]  # each a run of its own
    logits = await asyncio.wait_for(batcher.judge(texts), 5)
    assert logits[:, 0].tolist() == list(range(2 * GATHERED))
    await batcher.close()


async def test_one_part_of_a_long_text_that_fails_fails_the_call(batcher):
    texts = [sequence(at, 20 + at) for at in range(3 * GATHERED)]  # 13 is one of them
    with pytest.raises(FloatingPointError):
        await batcher.judge(texts)
    assert (await batcher.judge([sequence(2)]))[0, 0] == 2
