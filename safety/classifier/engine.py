"""The classifier without concurrency: texts in, calibrated scores out. What evaluation, export and the guard share."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from safety.classifier.manifest import LABELS, MODEL_FILE, OUTPUTS, TOKENIZER_FILE, Calibration, Manifest
from safety.classifier.onnx import Logits, OnnxModel, grouped
from safety.classifier.tokenise import Ids, Tokeniser
from safety.verdict import Category

Scores = NDArray[np.float64]

NOTHING = -20.0
"""Logit of a text without tokens."""


class Calibrator:
    """Logits to probabilities, all outputs at once."""

    def __init__(self, calibration: dict[str, Calibration]) -> None:
        """Take one calibration for each of `OUTPUTS`."""
        self._slope = np.array([calibration[name].slope for name in OUTPUTS])
        self._offset = np.array([calibration[name].offset for name in OUTPUTS])

    def scores(self, logits: Logits) -> Scores:
        """Probabilities of the same shape."""
        scores: Scores = 1 / (1 + np.exp(-(self._slope * logits + self._offset)))
        return scores


class CategoryScore(msgspec.Struct, frozen=True):
    """A category and how surely."""

    category: Category
    score: float


def by_category(scores: Scores, floor: float) -> list[CategoryScore]:
    """Categories at or over `floor`, of one row of nine scores, surest first.

    The surest category takes the harm score when that is higher: the harm score knows better whether a text is
    harmful at all, the category only says what it is about.
    """
    labels = scores[: len(LABELS)].copy()
    top = int(labels.argmax())
    labels[top] = max(labels[top], scores[len(LABELS)])
    order = np.argsort(-labels)
    return [CategoryScore(LABELS[at], float(labels[at])) for at in order if labels[at] >= floor]


class Engine:
    """Tokeniser, model and calibration of one folder."""

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int = 1, model_file: str = MODEL_FILE) -> None:
        """Open the folder's files, which `manifest.load` has checked."""
        self.tokeniser = Tokeniser(folder / TOKENIZER_FILE)
        self.model = OnnxModel(folder / model_file, threads=threads)
        self.calibrator = Calibrator(manifest.calibration)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Highest logits over each text's units: (texts, outputs). Blocking; for evaluation and export."""
        owners: list[int] = []
        sequences: list[Ids] = []
        for at, text in enumerate(texts):
            for unit in self.tokeniser.units(self.tokeniser.encode(text)):
                owners.append(at)
                sequences.append(unit.ids)
        highest = np.full((len(texts), len(OUTPUTS)), NOTHING, np.float32)
        for group in grouped([len(ids) for ids in sequences]):
            logits = self.model.run([sequences[at] for at in group])
            np.maximum.at(highest, [owners[at] for at in group], logits)
        return highest

    def scores(self, texts: Sequence[str]) -> Scores:
        """Calibrated scores of texts: (texts, outputs)."""
        return self.calibrator.scores(self.logits(texts))
