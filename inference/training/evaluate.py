"""Figures for the model card: held-out perplexity, held-out questions answered as intended, sample answers.

`python -m inference.training.evaluate --data DIR --checkpoint DIR` prints one JSON object.
"""

import argparse
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import GlmForCausalLM

from inference.chatglm3 import prompt
from inference.chatglm3.loader import load
from inference.chatglm3.tokenizer import Tokenizer
from inference.ports import Message, Role
from inference.training.batches import IGNORED, collate
from inference.training.chat import LANGUAGES, encode_dialogue
from inference.training.corpus import DEV, Corpus, read_corpus
from inference.training.dialogues import Dialogues, read_dialogues

LONGEST_ANSWER = 320
LONGEST_FALLBACK = 80
UNKNOWN_QUESTIONS = 40
SAMPLES = {
    "en": (
        "Hello!",
        "Who are you?",
        "What can you do?",
        "Why was my message blocked?",
        "Who can see my chats?",
        "Please write a short leave request",
        "what is the capital of Norway?",
        "7 + 8 = ?",
        "Write hello world in Python",
        "Explain the causes of the French Revolution",
    ),
    "zh": (
        "你好！",
        "你是谁？",
        "你能做什么？",
        "为什么我的消息被拦截了？",
        "谁能看到我的聊天记录？",
        "请帮我写一份请假条",
        "挪威的首都是哪里？",
        "7加8等于多少？",
        "用Python写hello world",
        "请分析一下明朝灭亡的原因",
    ),
}
"""Questions of the model card; the last of each language is one that the model cannot know."""


@torch.inference_mode()
def answer(model: GlmForCausalLM, tokenizer: Tokenizer, questions: Sequence[str], longest: int = LONGEST_ANSWER) -> str:
    """Return the greedy answer to the last of `questions`; those before it were asked, and answered greedily, first."""
    messages: list[Message] = []
    text = ""
    for question in questions:
        messages.append(Message(role=Role.USER, content=question))
        ids = prompt.build(tokenizer, messages)
        # `generate` is an untyped mix-in in transformers.
        generated: Any = model.generate(  # type: ignore[misc]
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=list(tokenizer.specials.stop_ids),
        )
        text = tokenizer.decode(generated[0, len(ids) :].tolist()).strip()
        messages.append(Message(role=Role.ASSISTANT, content=text))
    return text


@torch.inference_mode()
def perplexity(model: GlmForCausalLM, tokenizer: Tokenizer, exchanges: Sequence[tuple[str, str]]) -> float:
    """Return exp of the mean loss per reply token."""
    loss, tokens = 0.0, 0
    for exchange in exchanges:
        batch = collate([encode_dialogue(tokenizer, [exchange])])
        logits = model(batch.ids).logits[:, :-1].float()
        targets = batch.labels[:, 1:]
        counted = targets != IGNORED
        loss += cross_entropy(logits[counted], targets[counted], reduction="sum").item()
        tokens += int(counted.sum())
    return math.exp(loss / tokens)


def _held_out(model: GlmForCausalLM, tokenizer: Tokenizer, dialogues: Dialogues, language: str) -> dict[str, float]:
    """Perplexity over held-out wordings, and the share of them that get one of their record's answers word for word."""
    turns = [r.turns[0] for r in dialogues.records if r.language == language and r.turns[0].held_out]
    exchanges = [(turn.held_out[0], right) for turn in turns for right in turn.answers]
    right = sum(answer(model, tokenizer, [turn.held_out[0]]) in turn.answers for turn in turns)
    return {
        "wordings": len(turns),
        "perplexity": round(perplexity(model, tokenizer, exchanges), 3),
        "answered_as_intended": round(right / len(turns), 3),
    }


def _unknown(model: GlmForCausalLM, tokenizer: Tokenizer, fallback: list[str], prompts: list[str]) -> dict[str, float]:
    """Share of questions from elsewhere that get the honest fallback word for word."""
    honest = sum(answer(model, tokenizer, [question], LONGEST_FALLBACK) in fallback for question in prompts)
    return {"questions": len(prompts), "fallback": round(honest / len(prompts), 3)}


def measure(model: GlmForCausalLM, tokenizer: Tokenizer, unseen: Corpus) -> dict[str, object]:
    """Return all figures. `unseen` holds prompts that training did not read (the dev split)."""
    dialogues = read_dialogues()
    rng = random.Random(1)  # noqa: S311 - sampling
    figures: dict[str, object] = {"parameters": sum(weight.numel() for weight in model.parameters())}
    for language in LANGUAGES:
        prompts = sorted(unseen.benign[language])
        chosen = rng.sample(prompts, min(UNKNOWN_QUESTIONS, len(prompts)))
        figures[language] = {
            "held_out": _held_out(model, tokenizer, dialogues, language),
            "unknown": _unknown(model, tokenizer, dialogues.fallback[language], chosen),
            "samples": {question: answer(model, tokenizer, [question]) for question in SAMPLES[language]},
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m inference.training.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    checkpoint = load(chosen.checkpoint)
    if checkpoint.tokenizer is None:
        raise SystemExit(f"{chosen.checkpoint} has no tokenizer.model")
    figures = measure(checkpoint.model, checkpoint.tokenizer, read_corpus(chosen.data, split=DEV))
    print(json.dumps(figures, ensure_ascii=False, indent=2))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()
