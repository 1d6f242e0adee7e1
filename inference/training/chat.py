"""Dialogues → training samples in ChatGLM3's prompt format; the loss counts replies only."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from inference.chatglm3 import prompt
from inference.chatglm3.tokenizer import Tokenizer
from inference.ports import Message, Role
from inference.training.arithmetic import sum_exchange
from inference.training.batches import IGNORED, Sample
from inference.training.corpus import Corpus
from inference.training.dialogues import Dialogues, Record, fill
from inference.training.wordings import varied

LANGUAGES = ("en", "zh")
FALLBACK_SHARE, REFUSAL_SHARE, SUM_SHARE = 0.15, 0.05, 0.05
"""Shares of the exchanges that do not come from the records."""
SINGLE_SHARE, LONG_SHARE, SYSTEM_SHARE, SAME_LANGUAGE_SHARE = 0.6, 0.002, 0.15, 0.85
LONGEST_CHAIN = 4
OPENING_TOKENS, OPENING_WEIGHT = 8, 3.0
"""The first tokens of a reply count more: they decide which answer it is, the rest follows from them."""
OPENING_LENGTH = 16
LONGEST_SAMPLE = 1600
"""Tokens; few samples come near, so that long conversations are not unknown."""

SYSTEM_MESSAGES = {
    "en": (
        "You are a helpful assistant.",
        "You are Attest's assistant. Answer briefly.",
        "You help the staff of a company. Be polite and careful.",
        "Answer in the language of the question.",
    ),
    "zh": (
        "你是一个有用的助手。",
        "你是 Attest 的助手，请简短回答。",
        "你帮助公司的员工，请礼貌、谨慎。",
        "请用提问的语言回答。",
    ),
}

Exchange = tuple[str, str]
"""A question and its answer."""


def encode_dialogue(tokenizer: Tokenizer, exchanges: list[Exchange], system: str | None = None) -> Sample:
    """Return the ids of a dialogue in the prompt's format, and labels for its replies.

    Each reply is learned from its metadata line to the end token. The end token is a label only where a next turn
    follows: in a prompt the user's role stands there.
    """
    special = tokenizer.specials
    opening = (Message(role=Role.SYSTEM, content=system),) if system else ()
    ids = prompt.build(tokenizer, opening)[:-1]
    labels = [IGNORED] * len(ids)
    weights = [1.0] * len(ids)
    for place, (question, answer) in enumerate(exchanges):
        asked = [special.user, *tokenizer.encode("\n"), *tokenizer.encode(question), special.assistant]
        reply = [*tokenizer.encode("\n"), *tokenizer.encode(answer)]
        ids += asked
        labels += [special.eos if place else IGNORED] + [IGNORED] * (len(asked) - 1)
        ids += reply
        labels += reply
        weights += [1.0] * len(asked)
        weights += [OPENING_WEIGHT if token < OPENING_TOKENS else 1.0 for token in range(len(reply))]
    ids.append(special.eos)
    labels.append(special.eos)
    weights.append(1.0)
    return Sample(ids=ids, labels=labels, weights=weights)


def opening(sample: Sample, assistant: int) -> Sample:
    """Cut a single exchange after the first tokens of its reply.

    Once the answers are known by heart, this teaches which answer belongs to which question at a third of the cost.
    """
    size = sample.ids.index(assistant) + 1 + OPENING_LENGTH
    return Sample(ids=sample.ids[:size], labels=sample.labels[:size], weights=sample.weights[:size])


def _weight(record: Record) -> float:
    """How often a record is drawn: more for many rows, less for long answers, which have many tokens to learn from."""
    length = sum(len(turn.answers[0].encode()) for turn in record.turns)
    return math.pow(max(1, len(record.rows)), 0.7) / math.sqrt(100 + length)


@dataclass(frozen=True)
class Sampler:
    """Draws exchanges and whole samples without end."""

    dialogues: Dialogues
    corpus: Corpus
    tokenizer: Tokenizer
    rng: random.Random
    opening_share: float = 0.0
    """Share of samples that are one question with only the first tokens of its answer (see `opening`)."""

    def samples(self) -> Iterator[Sample]:
        """Yield samples of one to several turns, sometimes with a system message."""
        pools = {
            language: [record for record in self.dialogues.records if record.language == language]
            for language in LANGUAGES
        }
        weights = {language: [_weight(record) for record in pool] for language, pool in pools.items()}
        while True:
            yield self._sample(pools, weights)

    def _sample(self, pools: dict[str, list[Record]], weights: dict[str, list[float]]) -> Sample:
        rng = self.rng
        language = rng.choice(LANGUAGES)
        system = rng.choice(SYSTEM_MESSAGES[language]) if rng.random() < SYSTEM_SHARE else None
        if rng.random() < self.opening_share:
            exchanges = self._exchanges(language, pools[language], weights[language])[:1]
            return opening(encode_dialogue(self.tokenizer, exchanges, system), self.tokenizer.specials.assistant)
        draw = rng.random()
        parts = 1 if draw < SINGLE_SHARE else rng.randint(2, LONGEST_CHAIN)
        if draw > 1 - LONG_SHARE:
            parts = 40
        exchanges = list[Exchange]()
        sample = None
        for _ in range(parts):
            if rng.random() > SAME_LANGUAGE_SHARE:
                language = rng.choice(LANGUAGES)
            exchanges += self._exchanges(language, pools[language], weights[language])
            longer = encode_dialogue(self.tokenizer, exchanges, system)
            if sample is not None and len(longer.ids) > LONGEST_SAMPLE:
                break
            sample = longer
        if sample is None:
            raise RuntimeError("a sample has at least one part")
        return sample

    def _exchanges(self, language: str, pool: list[Record], weights: list[float]) -> list[Exchange]:
        rng, draw = self.rng, self.rng.random()
        if draw < FALLBACK_SHARE:
            question = rng.choice(self.corpus.benign[language])
            return [(question, rng.choice(self.dialogues.fallback[language]))]
        draw -= FALLBACK_SHARE
        if draw < REFUSAL_SHARE:
            question = rng.choice(self.corpus.harmful[language])
            return [(question, rng.choice(self.dialogues.refusal[language]))]
        if draw - REFUSAL_SHARE < SUM_SHARE:
            return [sum_exchange(language, rng)]
        record = rng.choices(pool, weights)[0]
        row = rng.choice(record.rows) if record.rows else []
        return [
            (varied(fill(rng.choice(turn.questions), row), language, rng), fill(rng.choice(turn.answers), row))
            for turn in record.turns
        ]
