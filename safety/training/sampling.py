"""Which rows a round shows, in which batches: reproducible from the seed and the round's number."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from safety.training.corpus import Example
from safety.training.disguise import disguised
from safety.training.sources import FINISHING

ROUNDS = 8
"""Rounds of a whole run: each shows a row `presentations / ROUNDS` times on average."""
LENGTH = 112
"""Longest row in tokens; of a longer one the head and the tail are shown, or any stretch."""
JOINED = 0.05
"""Share of rows that follow another row of their language: the rolling window is such a text."""
AS_CHARACTERS = 0.12
"""Share of Chinese rows that are shown without word tokens."""
DISTURBED = 0.15
"""Share of rows with other punctuation, a greeting or an odd token beside them: none of it may decide."""
DISGUISED = 0.04
"""Share of rows whose writer tries to hide them, harmful or not."""
_GREETINGS = {
    "en": ["Hi! ", "Hello, ", "Quick question: ", "hey ", "Please help. ", "Thanks in advance. "],
    "zh": ["你好，", "您好！", "请问", "麻烦问一下，", "在吗？", "帮我看一下：", "谢谢，"],
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of one step."""

    ids: Tensor
    mask: Tensor
    targets: Tensor
    """(rows, 9): labels, then the harm score."""
    weights: Tensor
    """(rows, 9)."""


@dataclass(frozen=True, slots=True)
class _Row:
    ids: list[int]
    labels: frozenset[int]
    label_weight: float
    harm_weight: float


class Sampler:
    """Draws the rows of a round."""

    def __init__(self, words: Tokenizer, characters: Tokenizer, seed: int, tokens: int = 3072) -> None:
        """Rows are tokenised by `words`, some by `characters`; a batch holds about `tokens` tokens."""
        self._words, self._characters, self._seed, self._tokens = words, characters, seed, tokens

    def batches(self, examples: Sequence[Example], round_number: int, *, finishing: bool = False) -> list[Batch]:
        """All batches of one round, in their order; `finishing` for the mix of the run's last part."""
        dice = random.Random(self._seed * 1000 + round_number)  # noqa: S311 - reproducible sampling, no secret
        drawn = [example for example in examples for _ in range(_times(_shown(example, finishing), dice))]
        texts = [_varied(example, dice) for example in drawn]
        partners = _partners(drawn, dice)
        plain = [dice.random() < AS_CHARACTERS for _ in drawn]
        encoded: list[list[int]] = [[]] * len(drawn)
        for tokenizer, chosen in ((self._words, False), (self._characters, True)):
            places = [at for at in range(len(drawn)) if plain[at] is chosen]
            found = tokenizer.encode_batch([_head_and_tail(texts[at]) for at in places], add_special_tokens=False)
            for at, encoding in zip(places, found, strict=True):
                encoded[at] = encoding.ids
        rows = [self._row(at, drawn, encoded, partners, dice) for at in range(len(drawn))]
        return list(self._packed(rows, dice))

    def _row(
        self,
        at: int,
        drawn: Sequence[Example],
        encoded: Sequence[list[int]],
        partners: dict[int, int],
        dice: random.Random,
    ) -> _Row:
        example, other = drawn[at], partners.get(at)
        if other is None:
            ids, labels = _fit(encoded[at], LENGTH - 2, dice), frozenset(example.labels)
        else:
            half = (LENGTH - 2) // 2
            ids = _fit(encoded[other], half, dice) + _fit(encoded[at], half, dice)
            labels = frozenset(example.labels) | frozenset(drawn[other].labels)
        return _Row([2, *ids, 3], labels, example.label_weight, example.harm_weight)

    def _packed(self, rows: list[_Row], dice: random.Random) -> Iterator[Batch]:
        """Rows of like length together, batches in random order."""
        order = sorted(range(len(rows)), key=lambda at: (len(rows[at].ids) + dice.uniform(0, 4), at))
        groups: list[list[int]] = [[]]
        for at in order:
            if groups[-1] and (len(groups[-1]) + 1) * len(rows[at].ids) > self._tokens:
                groups.append([])
            groups[-1].append(at)
        dice.shuffle(groups)
        for group in groups:
            if group:
                yield _batch([rows[at] for at in group])


def _shown(example: Example, finishing: bool) -> float:
    factor = FINISHING["seeds" if example.source == "seeds" else example.role] if finishing else 1.0
    return example.presentations / ROUNDS * factor


def _times(mean: float, dice: random.Random) -> int:
    return int(mean) + (dice.random() < mean - int(mean))


def _partners(drawn: Sequence[Example], dice: random.Random) -> dict[int, int]:
    by_language: dict[str, list[int]] = {}
    for at, example in enumerate(drawn):
        by_language.setdefault(example.lang, []).append(at)
    return {at: dice.choice(by_language[example.lang]) for at, example in enumerate(drawn) if dice.random() < JOINED}


def _head_and_tail(text: str) -> str:
    limit = LENGTH * 8
    return text if len(text) <= limit else text[: limit // 2] + "\n" + text[-limit // 2 :]


def _fit(ids: list[int], room: int, dice: random.Random) -> list[int]:
    """Cut to `room`: mostly head and tail, else the head or the tail alone, as the runtime's windows see them."""
    if len(ids) <= room:
        return ids
    chance = dice.random()
    if chance < 0.6:  # noqa: PLR2004 - the share above
        return ids[: room * 3 // 5] + ids[-(room - room * 3 // 5) :]
    return ids[:room] if chance < 0.85 else ids[-room:]  # noqa: PLR2004 - the share above


def _varied(example: Example, dice: random.Random) -> str:
    """Return the row's text as it is, disguised, or with something beside it that means nothing."""
    chance = dice.random()
    if chance < DISGUISED:
        return disguised(example.text, dice)
    return _disturbed(example.text, example.lang, dice) if chance < DISGUISED + DISTURBED else example.text


def _disturbed(text: str, lang: str, dice: random.Random) -> str:
    match dice.randrange(6):
        case 0:
            return text.rstrip(".!?。！？ ")
        case 1:
            return text + dice.choice(["!", "?", "...", "。", "！！", "？", " please", "，谢谢"])
        case 2:
            return text.translate({ord(mark): None for mark in ",，、;；'\""})
        case 3:
            return dice.choice(["\n", "- ", "1. ", "Q: ", "问：", "> "]) + text
        case 4:
            return dice.choice(_GREETINGS[lang]) + text
        case _:
            token = _odd_token(dice)
            return f"{token} {text}" if dice.random() < 0.5 else f"{text} {token}"  # noqa: PLR2004 - half


def _odd_token(dice: random.Random) -> str:
    """Make a reference such as people paste: `ABX-48213`, `quartz_7f3a`, `#20931`."""
    letters = "".join(dice.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(dice.randrange(2, 7)))
    digits = str(dice.randrange(10, 10 ** dice.randrange(2, 6)))
    parts = dice.choice([[letters.upper(), digits], [letters, digits], [digits], [letters, letters[::-1], digits]])
    return dice.choice(["", "#", "(ref) ", "id "]) + dice.choice("-_./").join(parts)


def _batch(rows: list[_Row]) -> Batch:
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    targets = torch.zeros((len(rows), 9))
    weights = torch.ones((len(rows), 9))
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        mask[at, : len(row.ids)] = 1
        for label in row.labels:
            targets[at, label] = 1
        targets[at, 8] = bool(row.labels)
        weights[at, :8], weights[at, 8] = row.label_weight, row.harm_weight
    return Batch(ids, mask, targets, weights)
