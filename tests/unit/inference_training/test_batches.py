"""Padding, packing and bucketing of training samples; the schedule; a phase that stops and goes on."""

import random
from itertools import islice, repeat

import pytest
import torch
from transformers import GlmForCausalLM

from inference.chatglm3.config import Published, to_glm
from inference.training.batches import IGNORED, Sample, bucketed, collate, packed
from inference.training.optimise import Phase, Progress, batch_loss, load, new_optimiser, rate, run_phase, save


def _sample(ids, labels):
    return Sample(ids=ids, labels=labels, weights=[1.0] * len(ids))


def test_collate_pads_on_the_right_and_learns_no_padding():
    batch = collate([_sample([5, 6, 7], [IGNORED, 6, 7]), _sample([8], [8])])
    assert batch.ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.labels.tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
    assert batch.weights.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_packed_loses_no_token_between_batches():
    documents = ([place] * 3 for place in range(100))
    batches = list(islice(packed(documents, rows=2, length=5), 4))
    flat = [token for batch in batches for token in batch.ids.flatten().tolist()]
    assert flat == [token for place in range(14) for token in [place] * 3][:40]


def test_bucketed_batches_stay_within_their_tokens():
    rng = random.Random(1)
    samples = (_sample([1] * size, [1] * size) for size in iter(lambda: rng.randint(1, 60), None))
    for batch in islice(bucketed(samples, tokens=128, pool=64, rng=rng), 100):
        assert batch.ids.numel() <= 128


def test_a_weight_of_nothing_removes_a_token_from_the_loss():
    model = _tiny()
    ids = [3, 4, 5, 6]
    whole = batch_loss(model, collate([_sample(ids[:3], ids[:3])])).item()
    weighted = Sample(ids=ids, labels=ids, weights=[1.0, 1.0, 1.0, 0.0])
    assert batch_loss(model, collate([weighted])).item() == pytest.approx(whole, rel=2e-2)


def test_rate_warms_up_then_falls_to_its_last_value():
    phase = Phase("p", seconds=100, peak=1e-3, last=1e-5)
    values = [rate(phase, second) for second in range(101)]
    assert max(values) == pytest.approx(1e-3)
    assert values.index(max(values)) == 3
    assert values[-1] == pytest.approx(1e-5)
    assert values[3:] == sorted(values[3:], reverse=True)


def _tiny():
    torch.manual_seed(3)
    published = Published(
        padded_vocab_size=64, hidden_size=32, ffn_hidden_size=48, num_layers=2, num_attention_heads=4,
        multi_query_group_num=2, kv_channels=8, seq_length=64,
    )  # fmt: skip
    return GlmForCausalLM(to_glm(published, (2,)))


def test_a_phase_learns_and_a_second_run_continues_from_its_state(tmp_path):
    model = _tiny()
    optimiser = new_optimiser(model)
    batch = collate([_sample(list(range(3, 30)), list(range(3, 30)))])
    before = batch_loss(model, batch).item()
    progress = Progress(seconds={}, steps={})
    path = tmp_path / "state.pt"
    phase = Phase("p", seconds=1.0, peak=3e-3, last=1e-3)
    run_phase(
        phase,
        model,
        optimiser,
        progress,
        repeat(batch),
        every=60,
        checkpoint=lambda: save(path, model, optimiser, progress),
    )
    after = batch_loss(model, batch).item()
    assert after < before - 0.5

    again = _tiny()
    continued = load(path, again, new_optimiser(again))
    assert batch_loss(again, batch).item() == pytest.approx(after)
    assert continued.steps == progress.steps
    assert continued.seconds["p"] >= 1.0
    run_phase(phase, again, new_optimiser(again), continued, iter(()), every=60, checkpoint=lambda: None)
    assert continued.steps == progress.steps
