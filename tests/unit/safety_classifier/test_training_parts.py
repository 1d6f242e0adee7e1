"""Training: sampling repeats itself, a stopped run continues, the ONNX graph is the network, thresholds hold."""

import gzip
import json

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from safety.classifier.manifest import LABELS
from safety.training import calibrate, command, graph
from safety.training.corpus import Example, clean, load
from safety.training.export import Checked, ExportError, approved, load_trained
from safety.training.loop import Plan, rate_at, train
from safety.training.network import Network, Shape
from safety.training.sampling import LENGTH, Sampler
from safety.training.shipped import start_from
from safety.training.sources import LEFT_OUT
from safety.training.vocabulary import assemble, without_words

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *[f"##{c}" for c in "abcdefg"]]
TINY = Shape(vocabulary=len(PIECES) + 4, hidden=24, layers=2, heads=4, inner=48)


@pytest.fixture
def tokenizer():
    return assemble([*PIECES, "炸", "弹", "好"], ["炸弹"])


def example(text, *labels, lang="en", role="prompt", source="x", shown=8.0):
    return Example(text, lang, role, source, labels, shown, 1.0, 1.0)


def test_the_onnx_graph_gives_the_networks_numbers(tmp_path):
    torch.manual_seed(3)
    network = Network(TINY).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    small = tmp_path / "model.onnx"
    full = graph.write(network, small)
    ids = torch.randint(0, TINY.vocabulary, (3, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.no_grad():
        expected = network(ids, mask).numpy()
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    for path, tolerance in ((full, 1e-4), (small, 0.5)):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert np.abs(session.run(None, feed)[0] - expected).max() < tolerance


def test_a_shipped_model_is_a_start_that_gives_the_same_numbers(tmp_path, tokenizer):
    torch.manual_seed(4)
    network = Network(TINY).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    graph.write(network, tmp_path / "model.onnx")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again, words = start_from(tmp_path, TINY)
    assert words.to_str() == tokenizer.to_str()
    for name, value in network.state_dict().items():
        # Half a step of the widest range: weights are within ±1.2 of 0.1, 254 steps.
        assert (again.state_dict()[name] - value).abs().max() < 0.01, name
    ids = torch.randint(0, TINY.vocabulary, (3, 17))
    with torch.no_grad():
        assert (again.eval()(ids, torch.ones_like(ids)) - network(ids, torch.ones_like(ids))).abs().max() < 0.3


def test_a_run_that_goes_on_has_lower_rates_and_the_same_course(tmp_path):
    fresh = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path, seed=1, tokens=5000)
    going_on = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path, seed=1, tokens=5000, start=tmp_path)
    assert 0 < going_on.top_rate < fresh.top_rate == 1.0
    assert 0 < fresh.finish_at == going_on.finish_at < 1
    assert Plan(data=tmp_path, out=tmp_path, seeds=tmp_path, seed=1, tokens=None).finish_at == 1


def test_a_run_that_goes_on_ends_in_the_mean_of_its_first_and_last_weights(tmp_path, tokenizer):
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    first, last = (Network(Shape(tokenizer.get_vocab_size())).state_dict() for _ in range(2))
    torch.save(first, tmp_path / "first.pt")
    torch.save({"network": last}, tmp_path / "checkpoint.pt")
    fresh = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path, seed=1, tokens=5000)
    going_on = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path, seed=1, tokens=5000, start=tmp_path)
    name = "head.weight"
    assert torch.equal(load_trained(fresh).state_dict()[name], last[name])
    assert torch.allclose(load_trained(going_on).state_dict()[name], (first[name] + last[name]) / 2)


def test_padding_changes_nothing():
    network = Network(TINY).eval()
    ids = torch.randint(5, TINY.vocabulary, (1, 8))
    padded = torch.cat([ids, torch.zeros((1, 6), dtype=torch.long)], 1)
    mask = torch.tensor([[1] * 8 + [0] * 6])
    with torch.no_grad():
        assert torch.allclose(network(ids, torch.ones_like(ids)), network(padded, mask), atol=1e-5)


def test_words_are_longest_matches_and_can_be_turned_off(tokenizer):
    assert tokenizer.encode("炸弹好", add_special_tokens=False).tokens == ["炸弹", "好"]
    assert without_words(tokenizer).encode("炸弹好", add_special_tokens=False).tokens == ["炸", "弹", "好"]


def test_a_round_repeats_itself_and_rounds_differ(tokenizer):
    rows = [example("abc " * n, n % 3) for n in range(1, 40)]
    sampler = Sampler(tokenizer, without_words(tokenizer), seed=5, tokens=200)
    first, again, other = (sampler.batches(rows, number) for number in (0, 0, 1))
    assert all(
        torch.equal(a.ids, b.ids) and torch.equal(a.targets, b.targets) for a, b in zip(first, again, strict=True)
    )
    assert not all(a.ids.shape == b.ids.shape and torch.equal(a.ids, b.ids) for a, b in zip(first, other, strict=False))
    assert all(batch.ids.shape[1] <= LENGTH for batch in first)
    assert all(torch.equal(b.targets[:, 8], b.targets[:, :8].max(1).values) for b in first)


def test_the_rate_rises_then_falls_to_nothing():
    rates = [rate_at(share) for share in (0.0, 0.02, 0.04, 0.5, 1.0)]
    assert rates[0] == rates[-1] == 0
    assert rates[2] == pytest.approx(1.0)
    assert rates[1] < rates[2] > rates[3]


def write_rows(folder, rows):
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def test_left_out_sources_are_not_read(tmp_path):
    kept = {"text": "a\u200bｂ", "lang": "en", "role": "prompt", "labels": ["hate"], "source": "fine"}
    write_rows(tmp_path, [kept, {**kept, "source": next(iter(LEFT_OUT))}])
    (found,) = load(tmp_path / "train.jsonl")
    assert (found.text, found.labels, found.harmful) == ("ab", (0,), True)
    assert clean(" ｘ\u2060 ") == "x"


def test_a_stopped_run_continues_where_it_was(tmp_path, tokenizer):
    rows = [
        {"text": "abc " * (n % 9 + 1), "lang": "en", "role": "prompt", "labels": [], "source": "x"} for n in range(60)
    ]
    with gzip.open(tmp_path / "train.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(row) for row in rows))
    plan = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path / "none", seed=1, tokens=500)
    torch.manual_seed(0)
    first = train(Network(TINY), tokenizer, plan)
    longer = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path / "none", seed=1, tokens=3000)
    second = train(Network(TINY), tokenizer, longer)
    assert second.rows > first.rows > 0
    assert second.tokens >= 3000 > first.tokens >= 500
    # A run that has reached its end is given nothing to learn: what a fresh network has then, it was given.
    ended = Network(TINY)
    train(ended, tokenizer, longer)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["network"]
    for name, value in saved.items():
        assert torch.equal(ended.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("small", "worse"), [(0.9, False), (0.91, False), (0.8951, False), (0.8949, True), (0.5, True)]
)
def test_int8_may_cost_half_a_point_and_no_more(small, worse):
    checked = Checked(full=0.9, small=small)
    if worse:
        with pytest.raises(ExportError, match=r"0\.005"):
            approved(checked)
    else:
        assert approved(checked) == checked


def test_thresholds_let_few_harmless_texts_through():
    rng = np.random.default_rng(0)
    rows = [example("x") for _ in range(2000)] + [example("x", n % 8) for n in range(800)]
    logits = rng.normal(-3, 1.5, (len(rows), 9)).astype(np.float32)
    for at, row in enumerate(rows):
        for label in row.labels:
            logits[at, label] += 4
            logits[at, 8] += 4
    truth = calibrate.targets_of(rows)
    calibration = calibrate.fit(logits, truth)
    bands = calibrate.thresholds(logits, rows, calibration)
    scores = calibrate.Calibrator(calibration).scores(logits)
    blocked = [
        any(found.score >= bands[found.category.value].block for found in calibrate.by_category(row, 0.05)[:1])
        for row in scores
    ]
    assert np.mean(blocked[:2000]) <= calibrate.BLOCK_RATE
    assert np.mean(blocked[2000:]) > 0.3
    assert set(bands) == {label.value for label in LABELS}


def test_calibrated_scores_read_as_probabilities():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 9)).astype(np.float32)
    truth = rng.random((20_000, 9)) < 1 / (1 + np.exp(-(0.5 * logits - 1)))
    for fitted in calibrate.fit(logits, truth).values():
        assert fitted.slope == pytest.approx(0.5, abs=0.05)
        assert fitted.offset == pytest.approx(-1, abs=0.1)


def test_the_command_needs_no_more_than_data_and_seed(tmp_path, monkeypatch):
    plans = []

    def prepared(plan, _unihan):
        plans.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "prepare", prepared)
    monkeypatch.chdir(tmp_path)
    asked = ["--data", ".", "--seed", "3"]
    for more in ([], ["--from", "."], ["--out", "here", "--tokens", "500"]):
        CliRunner().invoke(command.train, [*asked, *more])
    assert [(str(plan.out), plan.tokens) for plan in plans] == [
        ("build/train-3", command.TOKENS),
        ("build/train-3-on", command.TOKENS),
        ("here", 500),
    ]
    assert all(plan.out.is_dir() for plan in plans)
