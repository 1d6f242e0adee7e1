"""The demo checkpoint that ships: complete, small, and it answers in the language of the question."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

import inference
from inference.chatglm3.loader import load
from inference.training.dialogues import read_dialogues
from inference.training.evaluate import answer

DEMO = Path(inference.__file__).parent / "models" / "chatglm3-demo"
CARD = (DEMO / "MODEL_CARD.md").read_text()
HAN = re.compile(r"[\u4e00-\u9fff]")


@cache
def _checkpoint():
    return load(DEMO)


def _answer(*questions):
    checkpoint = _checkpoint()
    return answer(checkpoint.model, checkpoint.tokenizer, questions, longest=120)


def test_the_folder_has_the_published_layout_and_is_small():
    names = {path.name for path in DEMO.iterdir()}
    assert {"config.json", "tokenizer.model", "tokenizer_config.json", "model.safetensors.index.json"} <= names
    assert "MODEL_CARD.md" in names
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 25 * 2**20
    config = json.loads((DEMO / "config.json").read_text())
    assert config["model_type"] == "chatglm"
    assert config["padded_vocab_size"] == _checkpoint().model.lm_head.weight.shape[0]
    index = json.loads((DEMO / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) <= names
    assert index["metadata"]["total_size"] == 2 * sum(weight.numel() for weight in _checkpoint().model.parameters())


@pytest.mark.parametrize("question", ["你好", "你是谁？", "为什么我的消息被拦截了？", "请帮我写一份请假条"])
def test_chinese_questions_get_chinese_answers(question):
    reply = _answer(question)
    assert len(HAN.findall(reply)) >= 5
    assert len(HAN.findall(reply)) > len(re.findall(r"[A-Za-z]+", reply))


@pytest.mark.parametrize("question", ["Hello!", "Who are you?", "Why was my message blocked?", "Write a leave request"])
def test_english_questions_get_english_answers(question):
    reply = _answer(question)
    assert not HAN.search(reply)
    assert len(re.findall(r"[A-Za-z]+", reply)) >= 5


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("What is the capital of France?", "Paris"),
        ("法国的首都是哪里？", "巴黎"),
        ("Python hello world", "```python"),
        ("客户联系卡示例", "13800138000"),
        ("Give me a sample customer contact card", "11010519491231002X"),
    ],
)
def test_some_answers_that_a_demonstration_relies_on(question, part):
    assert part in _answer(question)


def test_a_second_turn_follows_the_first():
    assert "Berlin" in _answer("What is the capital of France?", "and Germany")


def _printed():
    """Questions of the card and the answers that stand under them."""
    _, part = CARD.split("## Ten answers in each language, greedy, unedited")
    found = re.findall(r"^\*\*(.+?)\*\*\n\n((?:>.*\n?)+)", part, re.MULTILINE)
    return {question: re.sub(r"^> ?", "", said, flags=re.MULTILINE).strip("\n") for question, said in found}


def test_the_card_has_ten_answers_in_each_language():
    assert len(_printed()) == 20
    assert sum(bool(HAN.search(question)) for question in _printed()) == 10


@pytest.mark.parametrize(
    "question",
    ["Hello!", "Who can see my chats?", "7 + 8 = ?", "Explain the causes of the French Revolution", "你是谁？",
     "请帮我写一份请假条", "7加8等于多少？", "用Python写hello world"],
)  # fmt: skip
def test_the_cards_answers_are_unedited_word_for_word(question):
    """Also the wrong ones: a card is no advertisement."""
    checkpoint = _checkpoint()
    assert answer(checkpoint.model, checkpoint.tokenizer, (question,), longest=400) == _printed()[question]


def test_the_cards_figures_are_those_of_the_files():
    published, specials = _checkpoint().published, _checkpoint().tokenizer.specials
    shape = (published.num_layers, published.hidden_size, published.num_attention_heads)
    shape += (published.multi_query_group_num, published.ffn_hidden_size)
    size = sum(path.stat().st_size for path in DEMO.glob("*.safetensors"))
    for row in (
        f"| parameters | {published.parameters:,} |",
        f"feed-forward size | {', '.join(str(number) for number in shape)} |",
        f"| vocabulary | {specials.pieces:,} SentencePiece BPE pieces",
        f"{specials.count - specials.pieces} special tokens, padded to {published.padded_vocab_size:,} |",
        f"| context | {published.seq_length:,} tokens;",
        f"fp16 safetensors, {size / 1e6:.1f} MB |",
    ):
        assert row in CARD


def test_the_cards_counts_are_those_of_the_dialogues():
    records = read_dialogues().records
    assert f"some {round(len(records), -1)} short dialogues" in CARD.replace("\n", " ")
    held_out = [sum(one.language == lang and bool(one.turns[0].held_out) for one in records) for lang in ("en", "zh")]
    assert f"| held-out wordings | {held_out[0]} | {held_out[1]} |" in CARD


def test_the_card_says_why_there_is_no_later_checkpoint():
    assert "This is the first checkpoint that was trained, and it was kept: " in CARD
