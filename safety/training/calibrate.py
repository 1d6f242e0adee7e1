"""Calibration and thresholds, both from dev alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from safety.classifier.engine import Calibrator, Scores, by_category
from safety.classifier.manifest import LABELS, OUTPUTS, Calibration, Thresholds
from safety.classifier.onnx import Logits
from safety.training.corpus import Example
from safety.verdict import Category

Flags = NDArray[np.bool_]

BLOCK_RATE = 0.0012
"""Share of benign prompts and answers on dev that one category may block: eight of them stay under 1 %."""
UNCERTAIN_RATE = 0.005
LOWEST_BLOCK, LOWEST_UNCERTAIN = 0.5, 0.3
HIGHEST_BLOCK = 0.98


def targets_of(examples: Sequence[Example]) -> Flags:
    """Tell what is true of each example: (examples, outputs)."""
    truth = np.zeros((len(examples), len(OUTPUTS)), np.bool_)
    for at, example in enumerate(examples):
        truth[at, list(example.labels)] = True
        truth[at, -1] = example.harmful
    return truth


def fit(logits: Logits, truth: Flags) -> dict[str, Calibration]:
    """Fit slope and offset of each output by maximum likelihood."""
    return {name: _platt(logits[:, at].astype(np.float64), truth[:, at]) for at, name in enumerate(OUTPUTS)}


def _platt(logits: NDArray[np.float64], truth: Flags) -> Calibration:
    def loss(parameters: NDArray[np.float64]) -> float:
        z = parameters[0] * logits + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - truth * z) + 1e-4 * (parameters[0] - 1) ** 2)

    best = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.2, 5.0), (-6.0, 6.0)])
    return Calibration(round(float(best.x[0]), 5), round(float(best.x[1]), 5))


def thresholds(
    logits: Logits, examples: Sequence[Example], calibration: dict[str, Calibration]
) -> dict[str, Thresholds]:
    """For each category the lowest scores at which benign prompts and answers stay under the rates above."""
    scores: Scores = Calibrator(calibration).scores(logits)
    benign = [at for at, example in enumerate(examples) if not example.harmful and example.role != "post"]
    found: dict[Category, list[float]] = {label: [] for label in LABELS}
    for at in benign:
        for finding in by_category(scores[at], 0.05):
            found[finding.category].append(finding.score)
    return {
        label.value: Thresholds(
            uncertain=_at_rate(found[label], len(benign), UNCERTAIN_RATE, LOWEST_UNCERTAIN),
            block=_at_rate(found[label], len(benign), BLOCK_RATE, LOWEST_BLOCK),
        )
        for label in LABELS
    }


def _at_rate(scores: list[float], count: int, rate: float, lowest: float) -> float:
    """Lowest threshold (not under `lowest`) that at most `rate * count` of the scores reach."""
    ranked = sorted(scores, reverse=True)
    allowed = int(rate * count)
    edge = ranked[allowed] + 1e-4 if allowed < len(ranked) else 0.0
    return round(min(max(edge, lowest), HIGHEST_BLOCK), 4)
