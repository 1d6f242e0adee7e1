"""The demo checkpoint that ships: complete, small, and it answers in the language of the question."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

import inference
from inference.chatglm3.loader import load
from inference.training.evaluate import answer

DEMO = Path(inference.__file__).parent / "models" / "chatglm3-demo"
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
