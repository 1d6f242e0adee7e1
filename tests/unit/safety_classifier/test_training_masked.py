"""The masked-language phase: whole words are hidden, known tokens stay, a stopped phase continues."""

import gzip
import json
import random
import re

import pytest
import torch

from safety.training import masked
from safety.training.loop import Plan
from safety.training.network import Network, Shape
from safety.training.vocabulary import assemble

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *[f"##{c}" for c in "abcdefg"]]
CHINESE = [*"今天气很好我们去公园散步吧炸弹"]


def words_of(text):
    """Stands for jieba, which warns when it is imported."""
    return re.findall(r"公园|炸弹|[a-z]+|.", text, re.DOTALL)


@pytest.fixture
def base():
    return assemble(PIECES, [])


@pytest.fixture
def tokenizer():
    return assemble([*PIECES, *CHINESE], ["炸弹"])


@pytest.fixture
def data(tmp_path):
    rows = [
        {"text": text, "lang": lang, "role": "post", "labels": [], "source": source}
        for text, lang, source in [
            ("今天天气很好，我们去公园散步吧", "zh", "x"),
            ("abcabc " * 8, "en", "x"),
            ("我们去公园散步吧", "zh", "qiuhuachuan/smile"),
        ]
    ]
    with gzip.open(tmp_path / "train.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(row) for row in rows))
    with gzip.open(tmp_path / masked.UNLABELLED, "wt") as file:
        file.write("天气很好\n我们去公园散步吧\n今天散步\n")
    return tmp_path


def test_a_word_is_one_group_whatever_its_tokens(tokenizer):
    text = "公园 abc 炸弹"
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words = [
        "".join(encoding.tokens[at].removeprefix("##") for at in group)
        for group in masked.word_groups(text, encoding, words_of)
    ]
    assert words == ["公园", "abc", "炸弹"]


def test_words_are_hidden_whole_and_the_rest_is_not_asked_for():
    ids, groups = list(range(10, 50)), [[at, at + 1] for at in range(0, 40, 2)]
    changed = list(ids)
    targets = masked.hide(changed, groups, 4, 60, random.Random(1))
    asked = [at for at, target in enumerate(targets) if target != masked.IGNORED]
    assert len(asked) == 8
    assert all(targets[at] == ids[at] for at in asked)
    assert all((at ^ 1) in asked for at in asked)
    assert all(changed[at] == ids[at] for at in range(40) if at not in asked)


def test_unlabelled_lines_of_sources_left_out_are_dropped_and_the_rest_joined(data):
    assert masked.read_texts(data)["unlabelled"] == ["天气很好\n今天散步"]


def test_known_tokens_stay_where_they_are_and_a_stopped_phase_continues(tmp_path, data, tokenizer, base, monkeypatch):
    monkeypatch.setattr(masked, "BLOCK", 24)
    shape = Shape(vocabulary=tokenizer.get_vocab_size(), hidden=24, layers=2, heads=4, inner=48)
    plan = Plan(data=data, out=tmp_path, seeds=tmp_path, seed=1, tokens=None)
    torch.manual_seed(0)
    network = Network(shape)
    before = network.words.weight.detach().clone()
    masked.pretrain(network, tokenizer, base, words_of, plan, 1200)
    moved = (network.words.weight.detach() != before).any(1)
    known = masked.known_tokens(tokenizer, base)
    assert not moved[known].any()
    assert moved[tokenizer.token_to_id("炸")]
    reached = json.loads((tmp_path / "masked.json").read_text())
    again = Network(shape)
    masked.pretrain(again, tokenizer, base, words_of, plan, 1200)
    assert torch.equal(again.words.weight, network.words.weight)
    masked.pretrain(again, tokenizer, base, words_of, plan, 2400)
    assert json.loads((tmp_path / "masked.json").read_text())["block"] > reached["block"]


def test_the_phase_is_over_when_labelled_training_has_begun(tmp_path, data, tokenizer, base):
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    network = Network(Shape(vocabulary=tokenizer.get_vocab_size(), hidden=24, layers=1, heads=4, inner=48))
    plan = Plan(data=data, out=tmp_path, seeds=tmp_path, seed=1, tokens=None)
    masked.pretrain(network, tokenizer, base, words_of, plan, 10_000)
    assert not (tmp_path / "masked.pt").exists()
