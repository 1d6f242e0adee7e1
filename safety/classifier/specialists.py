"""Specialists: larger readers of one language, asked about what the first reader does not find plainly harmless.

Most text is plainly harmless, and the first, bilingual reader says so at little cost. The rest is read once more, by an
encoder that was trained before on that language alone, and the mean of both logits stands. A specialist reads the first
reader's tokens, so nothing is tokenised twice (docs/decisions/0016).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safety.classifier.manifest import Specialist
from safety.classifier.onnx import Logits, Model
from safety.classifier.tokenise import HAN, LATIN, Ids

LITTLE, MUCH = 0.05, 0.4
"""A text is in English with much Latin and little Chinese, in Chinese with much of that: shares of its tokens. About
others, a row of emoji or a mixture, the first reader decides alone."""
FRAGMENT, FRAGMENT_SHARE = 8, 0.5
"""Of a fragment, a text of at most so many tokens, no specialist is as sure as of sentences."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A specialist's model and when it is asked."""

    model: Model
    asked: Specialist


class WithSpecialists:
    """The first reader and those it asks, as one model."""

    def __init__(self, first: Model, readers: Sequence[Reader], scripts: NDArray[np.int8]) -> None:
        """Take `scripts`: what each token id is written in."""
        self._first = first
        self._readers = tuple(readers)
        self._scripts = scripts

    def run(self, sequences: Sequence[Ids]) -> Logits:
        """Judge one batch: (sequences, outputs)."""
        logits = self._first.run(sequences)
        surest = logits.max(axis=1)
        for reader in self._readers:
            rows = [
                at
                for at, ids in enumerate(sequences)
                if surest[at] >= reader.asked.asked_from and self._reads(reader.asked, ids)
            ]
            if rows:
                # One by one: in a batch its texts would share the scales of int8, and change each other's logits.
                second = np.concatenate([reader.model.run([sequences[at]]) for at in rows])
                shares = np.array([[_share(reader.asked, sequences[at])] for at in rows], np.float32)
                logits[rows] += shares * (second - logits[rows])
        return logits

    def _reads(self, specialist: Specialist, ids: Ids) -> bool:
        latin, han = np.bincount(self._scripts[ids], minlength=3)[[LATIN, HAN]] / len(ids)
        return bool(latin >= MUCH and han <= LITTLE if specialist.language == "en" else han >= MUCH)


def _share(specialist: Specialist, ids: Ids) -> float:
    return min(specialist.share, FRAGMENT_SHARE) if len(ids) - 2 <= FRAGMENT else specialist.share
