"""The classifier without concurrency: texts in, calibrated scores out. What evaluation, export and the guard share."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from safety.classifier.manifest import LABELS, MODEL_FILE, OUTPUTS, TOKENIZER_FILE, Calibration, Manifest
from safety.classifier.onnx import Logits, Model, OnnxModel
from safety.classifier.specialists import Reader, WithSpecialists
from safety.classifier.tokenise import Ids, Tokeniser
from safety.classifier.wording import WithWording, WordingReader
from safety.verdict import Category

Scores = list[list[float]]
"""Calibrated scores, `manifest.OUTPUTS` in each row."""

NOTHING = -20.0
"""Logit of a text without tokens."""


class Calibrator:
    """Logits to probabilities, all outputs at once."""

    def __init__(self, calibration: dict[str, Calibration]) -> None:
        """Take one calibration for each of `OUTPUTS`."""
        self._lines = [(calibration[name].slope, calibration[name].offset) for name in OUTPUTS]

    def scores(self, logits: Logits) -> Scores:
        """Probabilities, row by row: plain floats, since arrays as small as a turn's cost more than they save."""
        return [
            # The logistic function, in the form that never overflows.
            [
                (1 + math.tanh((slope * value + offset) / 2)) / 2
                for value, (slope, offset) in zip(row, self._lines, strict=True)
            ]
            for row in logits.tolist()
        ]


class CategoryScore(msgspec.Struct, frozen=True):
    """A category and how surely."""

    category: Category
    score: float


def by_category(scores: Sequence[float], floor: float) -> list[CategoryScore]:
    """Categories at or over `floor`, of one row of nine scores, surest first.

    The surest category takes the harm score when that is higher: the harm score knows better whether a text is
    harmful at all, the category only says what it is about.
    """
    labels = list(scores[: len(LABELS)])
    top = labels.index(max(labels))
    labels[top] = max(labels[top], scores[len(LABELS)])
    found = [CategoryScore(LABELS[at], score) for at, score in enumerate(labels) if score >= floor]
    return sorted(found, key=lambda item: -item.score)


class Engine:
    """Tokeniser, model and calibration of one folder."""

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int = 1, model_file: str = MODEL_FILE) -> None:
        """Open the folder's files, which `manifest.load` has checked."""
        self.tokeniser = Tokeniser(folder / TOKENIZER_FILE)
        first = OnnxModel(folder / model_file, threads=threads)
        readers = [Reader(OnnxModel(folder / asked.file, threads=threads), asked) for asked in manifest.specialists]
        model: Model = WithSpecialists(first, readers, self.tokeniser.scripts) if readers else first
        self.wording: Callable[[Ids], float] | None = None
        """Says how harmful the wording of a framed sequence is."""
        if wording := manifest.wording:
            reader = WordingReader(folder / wording.file, wording)
            model, self.wording = WithWording(model, reader, wording.share), reader.logit
        self.model: Model = model
        self.first: Model = first
        self._each: tuple[Model, ...] = (first, *(reader.model for reader in readers))
        self.calibrator = Calibrator(manifest.calibration)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Highest logits over each text's units: (texts, outputs). Blocking; for evaluation and export."""
        highest = np.full((len(texts), len(OUTPUTS)), NOTHING, np.float32)
        for at, text in enumerate(texts):
            for unit in self.tokeniser.units(self.tokeniser.encode(text)):
                np.maximum(highest[at], self.model.run([unit.ids])[0], out=highest[at])
        return highest

    def sound(self, texts: Sequence[str]) -> bool:
        """Let every reader judge the texts: whether all gave numbers. What they work on is in memory afterwards."""
        sequences = [unit.ids for text in texts for unit in self.tokeniser.units(self.tokeniser.encode(text))]
        return all(bool(np.isfinite(model.run([ids])).all()) for model in self._each for ids in sequences)

    def scores(self, texts: Sequence[str]) -> Scores:
        """Calibrated scores of texts, one row each."""
        return self.calibrator.scores(self.logits(texts))
