"""Masked-language training on Chinese before the labelled rows, so that the added tokens learn the company they keep.

Whole words are hidden (jieba's for Chinese, wordpieces that belong together for English) and guessed from the rest, as
in Cui et al. 2019. The encoder was trained on English alone, so the tokens that it knew stay where they are, every
other weight moves a little, and a share of English rows keeps what it knew in place. A stopped run continues.
"""

import gzip
import json
import logging
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn import functional as f

from safety.classifier.tokenise import is_han
from safety.training.corpus import clean, load, read_jsonl
from safety.training.loop import Plan
from safety.training.network import Network
from safety.training.sampling import AS_CHARACTERS
from safety.training.sources import LEFT_OUT
from safety.training.vocabulary import without_words

log = logging.getLogger(__name__)

Segmenter = Callable[[str], Iterable[str]]
"""Cuts a text into its words, nothing left out."""

UNLABELLED = "unlabelled_zh.txt.gz"
"""One paragraph a line, in the training folder; the phase does without it when it is not there."""
MIX = {"unlabelled": 0.35, "zh": 0.45, "en": 0.20}
"""Shares of the rows: unlabelled text, Chinese training rows, English ones (their labels are not looked at)."""
TOKENS = 1_750_000
"""Tokens that the phase shows: 18 minutes of one quiet core."""
HIDDEN, KEPT, SWAPPED = 0.2, 0.1, 0.1
"""Share of tokens to be guessed; of these, shares that stay as they are and that become any other token."""
PARAGRAPH = 160
"""Lines that follow each other are joined up to this number of characters: most are turns of a dialogue."""
LONGEST, CHARACTERS = 128, 220
BATCH_TOKENS, BLOCK = 2048, 2048
ENCODER_RATE, EMBEDDING_RATE, HEAD_RATE = 1e-4, 1e-3, 1e-3
WARM_UP = 0.06
SAVE_EVERY_S = 240.0
IGNORED = -100


class Head(nn.Module):
    """From a token's state to the vocabulary; the last step is the embedding table itself."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.turn = nn.Linear(network.shape.hidden, network.shape.hidden)
        self.norm = nn.LayerNorm(network.shape.hidden)
        self.bias = nn.Parameter(torch.zeros(network.shape.vocabulary))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """`states` is (tokens, hidden); returns logits (tokens, vocabulary)."""
        return f.linear(self.norm(f.gelu(self.turn(states))), words, self.bias)


@dataclass(slots=True)
class Progress:
    """How far the phase is."""

    block: int = 0
    tokens: int = 0
    seconds: float = 0.0


def read_texts(data: Path) -> dict[str, list[str]]:
    """Return the texts by part of `MIX`; unlabelled lines that are rows of a source left out are dropped."""
    rows = load(data / "train.jsonl.gz")
    texts = {lang: [row.text for row in rows if row.lang == lang] for lang in ("zh", "en")}
    path = data / UNLABELLED
    if not path.exists():
        return texts
    left_out = {clean(str(row["text"])) for row in read_jsonl(data / "train.jsonl.gz") if row["source"] in LEFT_OUT}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        kept = (text for line in lines if (text := clean(line)) not in left_out)
        texts["unlabelled"] = list(_joined(kept))
    return texts


def _joined(lines: Iterator[str]) -> Iterator[str]:
    paragraph = ""
    for line in lines:
        if paragraph and len(paragraph) + len(line) > PARAGRAPH:
            yield paragraph
            paragraph = ""
        paragraph = f"{paragraph}\n{line}" if paragraph else line
    if paragraph:
        yield paragraph


def word_groups(text: str, encoding: Encoding, words_of: Segmenter) -> list[list[int]]:
    """Return the places of the tokens of each word."""
    ends = list(accumulate(len(word) for word in words_of(text)))
    groups: list[list[int]] = []
    last = -1
    for at, (start, _) in enumerate(encoding.offsets):
        word = bisect_right(ends, start)
        if word != last or not groups:
            groups.append([])
        groups[-1].append(at)
        last = word
    return groups


def hide(ids: list[int], groups: list[list[int]], mask: int, width: int, dice: random.Random) -> list[int]:
    """Hide whole words in `ids` (changed in place); return what is to be guessed, `IGNORED` elsewhere."""
    targets = [IGNORED] * len(ids)
    left = max(1, round(HIDDEN * len(ids)))
    for group in dice.sample(groups, len(groups)):
        if len(group) > left:
            continue
        chance = dice.random()
        for at in group:
            targets[at] = ids[at]
            if chance >= KEPT + SWAPPED:
                ids[at] = mask
            elif chance >= KEPT:
                ids[at] = dice.randrange(5, width)
        left -= len(group)
        if not left:
            break
    return targets


def blocks(
    texts: dict[str, list[str]], tokenizer: Tokenizer, words_of: Segmenter, seed: int, first: int
) -> Iterator[list[list[Tensor]]]:
    """Yield block after block of batches, `[ids, mask, targets]` each, from block number `first` on."""
    plain, number = without_words(tokenizer), first
    parts = [part for part in MIX if texts.get(part)]
    while True:
        dice = random.Random(seed * 100_003 + number)  # noqa: S311 - reproducible sampling, no secret
        chosen = [dice.choice(texts[part]) for part in dice.choices(parts, [MIX[part] for part in parts], k=BLOCK)]
        rows = []
        for text in chosen:
            shown_by = plain if dice.random() < AS_CHARACTERS else tokenizer
            rows.append(_row(_stretch(text, dice), shown_by, words_of, dice))
        rows.sort(key=lambda row: len(row[0]))
        batches = list(_packed([row for row in rows if len(row[0]) > 5]))  # noqa: PLR2004 - nothing to guess from
        dice.shuffle(batches)
        yield batches
        number += 1


def _stretch(text: str, dice: random.Random) -> str:
    limit = CHARACTERS if is_han(text[len(text) // 2]) else 2 * CHARACTERS
    start = 0 if len(text) <= limit or dice.random() < 0.5 else dice.randrange(len(text) - limit)  # noqa: PLR2004 - half
    return text[start : start + limit]


def _row(text: str, tokenizer: Tokenizer, words_of: Segmenter, dice: random.Random) -> tuple[list[int], list[int]]:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    encoding.truncate(LONGEST - 2)
    ids = list(encoding.ids)
    if not ids:
        return [], []
    targets = hide(ids, word_groups(text, encoding, words_of), 4, tokenizer.get_vocab_size(), dice)
    return [2, *ids, 3], [IGNORED, *targets, IGNORED]


def _packed(rows: Sequence[tuple[list[int], list[int]]]) -> Iterator[list[Tensor]]:
    group: list[tuple[list[int], list[int]]] = []
    for row in [*rows, ([], [])]:
        if group and (not row[0] or (len(group) + 1) * len(row[0]) > BATCH_TOKENS):
            width = len(group[-1][0])
            ids = torch.tensor([one + [0] * (width - len(one)) for one, _ in group])
            targets = torch.tensor([other + [IGNORED] * (width - len(other)) for _, other in group])
            yield [ids, (torch.arange(width) < torch.tensor([[len(one)] for one, _ in group])).long(), targets]
            group = []
        group.append(row)


def known_tokens(tokenizer: Tokenizer, base: Tokenizer) -> Tensor:
    """Return the ids of the tokens that the first encoder knew; Chinese characters it knew in name only."""
    old = base.get_vocab()
    kept = [at for word, at in tokenizer.get_vocab().items() if word in old and not is_han(word[0])]
    return torch.tensor(sorted(kept))


def loss_of(network: Network, head: Head, batch: list[Tensor]) -> tuple[Tensor, float]:
    """Cross-entropy over the hidden tokens, and the share of them that was guessed right."""
    ids, mask, targets = batch
    hidden = targets != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(network.encode(ids, mask)[hidden], network.words.weight)
    wanted = targets[hidden]
    return f.cross_entropy(logits.float(), wanted), float((logits.argmax(1) == wanted).float().mean())


def pretrain(
    network: Network, tokenizer: Tokenizer, base: Tokenizer, words_of: Segmenter, plan: Plan, goal: int
) -> None:
    """Train `network` until it has seen `goal` tokens; does nothing when the labelled training has begun."""
    if goal <= 0 or (plan.out / "checkpoint.pt").exists():
        return
    head = Head(network)
    encoder = [value for name, value in network.named_parameters() if not name.startswith(("words", "head"))]
    groups = [
        {"params": list(network.words.parameters()), "top": EMBEDDING_RATE},
        {"params": encoder, "top": ENCODER_RATE},
        {"params": list(head.parameters()), "top": HEAD_RATE},
    ]
    rates = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    progress = _resume(network, head, rates, plan.out)
    if progress.tokens >= goal:
        return
    frozen = known_tokens(tokenizer, base)
    torch.manual_seed(plan.seed + progress.tokens)
    network.train()
    saved = progress.seconds
    for batches in blocks(read_texts(plan.data), tokenizer, words_of, plan.seed, progress.block):
        score = _block(network, head, rates, frozen, batches, progress, goal)
        progress.block += 1
        log.info(
            "masked block %d tokens %d %.0fs loss %.3f right %.3f",
            progress.block,
            progress.tokens,
            progress.seconds,
            *score,
        )
        if progress.tokens >= goal or progress.seconds - saved > SAVE_EVERY_S:
            _save(network, head, rates, progress, plan.out)
            saved = progress.seconds
        if progress.tokens >= goal:
            return


def _block(
    network: Network,
    head: Head,
    rates: torch.optim.Optimizer,
    frozen: Tensor,
    batches: list[list[Tensor]],
    progress: Progress,
    goal: int,
) -> tuple[float, float]:
    scores: list[tuple[float, float]] = []
    for batch in batches:
        began = time.monotonic()
        share = min(1.0, progress.tokens / goal)
        for group in rates.param_groups:
            group["lr"] = group["top"] * min(share / WARM_UP, (1 - share) / (1 - WARM_UP))
        loss, right = loss_of(network, head, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        network.words.weight.grad[frozen] = 0.0  # type: ignore[index]
        torch.nn.utils.clip_grad_norm_([*network.parameters(), *head.parameters()], 1.0)
        rates.step()
        rates.zero_grad()
        scores.append((loss.item(), right))
        progress.tokens += int(batch[1].sum())
        progress.seconds += time.monotonic() - began
    return sum(loss for loss, _ in scores) / len(scores), sum(right for _, right in scores) / len(scores)


def _save(network: Network, head: Head, rates: torch.optim.Optimizer, progress: Progress, out: Path) -> None:
    temporary = out / "masked.tmp"
    state = {"network": network.state_dict(), "head": head.state_dict(), "rates": rates.state_dict()}
    torch.save(state, temporary)
    temporary.replace(out / "masked.pt")
    (out / "masked.json").write_text(json.dumps({n: getattr(progress, n) for n in Progress.__slots__}), "utf-8")


def _resume(network: Network, head: Head, rates: torch.optim.Optimizer, out: Path) -> Progress:
    if not (out / "masked.pt").exists():
        return Progress()
    saved = torch.load(out / "masked.pt", weights_only=True)
    network.load_state_dict(saved["network"])
    head.load_state_dict(saved["head"])
    rates.load_state_dict(saved["rates"])
    return Progress(**json.loads((out / "masked.json").read_text("utf-8")))
