"""Calibration and thresholds, both from dev alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from safety.classifier.engine import Calibrator, by_category
from safety.classifier.manifest import LABELS, OUTPUTS, Calibration, Thresholds
from safety.classifier.onnx import Logits
from safety.training.corpus import Example
from safety.training.sources import NOISY, SEEDS
from safety.verdict import Category

Flags = NDArray[np.bool_]

BLOCK_RATE = 0.008
"""Share of benign prompts and answers on dev (ours not counted) that all categories together may block."""
UNCERTAIN_RATE = 0.03
LOWEST_BLOCK, LOWEST_UNCERTAIN = 0.5, 0.3
HIGHEST_BLOCK = 0.98
LOOK_AHEAD = 5


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
    """Spend the allowed false alarms where they catch most.

    Category by category the threshold is lowered, each time where one more false alarm among benign prompts and
    answers catches most harmful texts, until the share above is used up. Catches count by the root of the category's
    size, since dev holds mostly hate. Sources whose benign rows are noisy do not count, nor do our own harmless
    examples: they were written to look harmful, so a rate over them says nothing about ordinary requests.
    """
    scores = Calibrator(calibration).scores(logits)
    false: dict[Category, list[float]] = {label: [] for label in LABELS}
    caught: dict[Category, list[float]] = {label: [] for label in LABELS}
    benign = 0
    for row, example in zip(scores, examples, strict=True):
        if not example.harmful and (example.role == "post" or example.source in NOISY or example.source == SEEDS):
            continue
        benign += not example.harmful
        top = by_category(row, 0.0)[0]
        (caught if example.harmful else false)[top.category].append(top.score)
    block = _spend(int(BLOCK_RATE * benign), false, caught, LOWEST_BLOCK)
    uncertain = _spend(int(UNCERTAIN_RATE * benign), false, caught, LOWEST_UNCERTAIN)
    return {label.value: Thresholds(min(uncertain[label], block[label]), block[label]) for label in LABELS}


def _spend(
    alarms: int, false: dict[Category, list[float]], caught: dict[Category, list[float]], lowest: float
) -> dict[Category, float]:
    edges = {label: _edges(false[label], lowest) for label in LABELS}
    hits = {
        label: [
            float(np.sum(np.asarray(caught[label]) >= edge)) / max(len(caught[label]), 1) ** 0.5
            for edge in edges[label]
        ]
        for label in LABELS
    }
    spent = dict.fromkeys(LABELS, 0)
    while alarms > 0:
        choices = [
            ((hits[name][spent[name] + more] - hits[name][spent[name]]) / more, more, name)
            for name in LABELS
            for more in range(1, min(LOOK_AHEAD, alarms, len(edges[name]) - 1 - spent[name]) + 1)
        ]
        gain, step, label = max(choices, default=(0.0, 0, LABELS[0]))
        if not gain:
            break
        spent[label] += step
        alarms -= step
    return {label: edges[label][spent[label]] for label in LABELS}


def _edges(scores: list[float], lowest: float) -> list[float]:
    """Thresholds that let 0, 1, 2 … of the scores through, down to `lowest`."""
    ranked = [*sorted(scores, reverse=True), 0.0]
    edges = [round(min(max(score + 1e-4, lowest), HIGHEST_BLOCK), 4) for score in ranked]
    return edges[: next((at + 1 for at, edge in enumerate(edges) if edge <= lowest), len(edges))]
