"""Training batches: token ids and labels, padded on the right (causal attention never looks there)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
PADDING = 0


@dataclass(frozen=True)
class Sample:
    """One sequence; `labels[i]` is the token to predict at place i from those before it, or `IGNORED`.

    `weights[i]` is how much that prediction counts.
    """

    ids: list[int]
    labels: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """`ids`, `labels` and `weights`, each rows × tokens; labels are `IGNORED` where nothing is learned."""

    ids: Tensor
    labels: Tensor
    weights: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad `samples` to their longest."""
    longest = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), longest), PADDING)
    labels = torch.full((len(samples), longest), IGNORED)
    weights = torch.zeros((len(samples), longest))
    for row, sample in enumerate(samples):
        size = len(sample.ids)
        ids[row, :size] = torch.tensor(sample.ids)
        labels[row, :size] = torch.tensor(sample.labels)
        weights[row, :size] = torch.tensor(sample.weights)
    return Batch(ids=ids, labels=labels, weights=weights)


def packed(documents: Iterator[list[int]], *, rows: int, length: int) -> Iterator[Batch]:
    """Yield rows × length batches of whole documents written one after the other; every token is learned."""
    pool: list[int] = []
    for document in documents:
        pool.extend(document)
        if len(pool) >= rows * length:
            ids = torch.tensor(pool[: rows * length]).view(rows, length)
            pool = pool[rows * length :]
            yield Batch(ids=ids, labels=ids, weights=torch.ones_like(ids, dtype=torch.float32))


def bucketed(samples: Iterator[Sample], *, tokens: int, pool: int, rng: random.Random) -> Iterator[Batch]:
    """Yield batches of at most `tokens` padded tokens, each of samples of like length drawn from a pool."""
    while True:
        drawn = sorted((next(samples) for _ in range(pool)), key=lambda sample: len(sample.ids))
        groups: list[list[Sample]] = [[]]
        for sample in drawn:
            if groups[-1] and (len(groups[-1]) + 1) * len(sample.ids) > tokens:
                groups.append([])
            groups[-1].append(sample)
        rng.shuffle(groups)
        for group in groups:
            yield collate(group)
