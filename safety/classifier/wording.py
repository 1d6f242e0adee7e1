"""The reader of wording: a linear model over a text's tokens, pairs and threes of them.

An encoder keeps what many texts have in common, and forgets a turn of phrase that it read in one or two. This model has
a weight for each, so beside the encoders it knows what they forgot, and knows nothing of what they understand
(docs/decisions/0026). Feature hashing: Weinberger et al. 2009. All sums are of integers, so that a text has the same
logit on every processor.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safety.classifier.manifest import ClassifierError, Wording
from safety.classifier.onnx import Logits, Model
from safety.classifier.tokenise import Ids

MOST_TOKENS = 3
"""Most tokens of one feature."""
MOST_BUCKETS = 1 << 24
_MIX, _SPREAD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Odd constants of splitmix64 and xxHash64: they spread the bits of neighbouring ids."""
_FOLD = np.uint64(29)


def buckets(ids: Ids, count: int) -> set[int]:
    """Return which of `count` weights, a power of two, a text's features have; `ids` without their frame.

    A set, and no sorted array: that would give the interpreter away for microseconds of work, and wait to get it back.
    """
    tokens = ids.astype(np.uint64)
    found: list[NDArray[np.uint64]] = []
    state = np.zeros(len(tokens), np.uint64)
    for length in range(1, min(MOST_TOKENS, len(tokens)) + 1):
        state = (state[: len(tokens) - length + 1] ^ (tokens[length - 1 :] + np.uint64(length))) * _MIX
        state ^= state >> _FOLD
        found.append(state * _SPREAD)
    high_bits = np.uint64(64 - count.bit_length() + 1)
    return set((np.concatenate(found) >> high_bits).tolist()) if found else set()


class WordingReader:
    """The weights of a classifier's reader of wording."""

    def __init__(self, path: Path, read: Wording) -> None:
        """Load the weights; raises `ClassifierError` when they are none of ours."""
        self._weights = _weights(path).data
        self._read = read

    def logit(self, ids: Ids) -> float:
        """Say how harmful the wording of one framed sequence is."""
        features = buckets(ids[1:-1], len(self._weights))
        total = sum(map(self._weights.__getitem__, features))
        return self._read.intercept + self._read.scale * total / math.sqrt(max(1, len(features)))


class WithWording:
    """A model to whose logits the wording's is added, at its share."""

    def __init__(self, model: Model, reader: WordingReader, share: float) -> None:
        """Take the encoders as one model."""
        self._model = model
        self._reader = reader
        self._share = share

    def run(self, sequences: Sequence[Ids]) -> Logits:
        """Judge one batch: (sequences, outputs)."""
        wording = np.array([[self._share * self._reader.logit(ids)] for ids in sequences], np.float32)
        return self._model.run(sequences) + wording


def _weights(path: Path) -> NDArray[np.int8]:
    try:
        weights = np.load(path, allow_pickle=False)
    except (EOFError, OSError, ValueError):
        weights = None
    if not isinstance(weights, np.ndarray) or weights.dtype != np.int8 or weights.ndim != 1 or not _fits(len(weights)):
        raise ClassifierError(f"The classifier's {path.name} holds no weights of wording; export it again.")
    return weights


def _fits(count: int) -> bool:
    return 0 < count <= MOST_BUCKETS and count & (count - 1) == 0
