"""Calibration and thresholds, both from dev alone."""

from collections.abc import Sequence
from dataclasses import dataclass

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

BLOCK_RATE = 0.007
"""Share of benign prompts and answers on dev (ours not counted) that all categories together may block."""
UNCERTAIN_RATE = 0.03
POST_WEIGHT = 0.3
"""What a caught post counts when thresholds are chosen, beside a caught request or answer."""
LOWEST_BLOCK, LOWEST_UNCERTAIN = 0.55, 0.3
HIGHEST_BLOCK = 0.98
LOOK_AHEAD = 5
RESAMPLED = 201
"""Dev sets drawn with replacement, over which the median of thresholds is taken."""
STEPS = 20
"""Steps from the allowed share of alarms down to nothing."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A text of dev by its surest category."""

    category: Category
    score: float
    weight: float
    """What it counts when it is caught; 0: it is harmless."""


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
    answers catches most harmful texts, until the share above is used up; the median over resampled dev sets
    stands. A post counts for `POST_WEIGHT` of a request
    or an answer: dev holds mostly posts, people here ask. Sources whose benign rows are noisy do not count, nor do our
    own harmless examples: they were written to look harmful, so a rate over them says nothing about ordinary requests.
    """
    scores = Calibrator(calibration).scores(logits)
    judged: list[_Judged] = []
    for row, example in zip(scores, examples, strict=True):
        if not example.harmful and (example.role == "post" or example.source in NOISY or example.source == SEEDS):
            continue
        top = by_category(row, 0.0)[0]
        weight = POST_WEIGHT if example.role == "post" else 1.0
        judged.append(_Judged(top.category, top.score, weight if example.harmful else 0.0))
    block = _resampled(judged, BLOCK_RATE, LOWEST_BLOCK)
    uncertain = _resampled(judged, UNCERTAIN_RATE, LOWEST_UNCERTAIN)
    return {label.value: Thresholds(min(uncertain[label], block[label]), block[label]) for label in LABELS}


def _resampled(judged: Sequence[_Judged], rate: float, lowest: float) -> dict[Category, float]:
    """Return the median of each category's thresholds over resampled dev sets.

    Two dozen alarms alone would decide by chance which category may have them. Medians allow more alarms than each of
    their sets, so the sets get less than `rate`, until dev itself keeps to it.
    """
    allowed = rate * _harmless(judged)
    for part in range(STEPS, 0, -1):
        thresholds = _medians(judged, rate * part / STEPS, lowest)
        if sum(not item.weight and item.score >= thresholds[item.category] for item in judged) <= allowed:
            return thresholds
    return dict.fromkeys(LABELS, HIGHEST_BLOCK)


def _medians(judged: Sequence[_Judged], rate: float, lowest: float) -> dict[Category, float]:
    dice = np.random.default_rng(0)
    found: dict[Category, list[float]] = {label: [] for label in LABELS}
    for _ in range(RESAMPLED):
        drawn = [judged[at] for at in dice.integers(0, len(judged), len(judged))]
        for label, threshold in _spend(int(rate * _harmless(drawn)), drawn, lowest).items():
            found[label].append(threshold)
    return {label: round(float(np.median(values)), 4) for label, values in found.items()}


def _harmless(judged: Sequence[_Judged]) -> int:
    return sum(not item.weight for item in judged)


def _spend(alarms: int, judged: Sequence[_Judged], lowest: float) -> dict[Category, float]:
    false: dict[Category, list[float]] = {label: [] for label in LABELS}
    caught: dict[Category, list[_Judged]] = {label: [] for label in LABELS}
    for item in judged:
        if item.weight:
            caught[item.category].append(item)
        else:
            false[item.category].append(item.score)
    edges = {label: _edges(false[label], lowest) for label in LABELS}
    hits = {label: _hits(caught[label], edges[label]) for label in LABELS}
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


def _hits(caught: Sequence[_Judged], edges: Sequence[float]) -> list[float]:
    """Weight of what each threshold catches."""
    scores, weights = np.array([item.score for item in caught]), np.array([item.weight for item in caught])
    return [float(weights[scores >= edge].sum()) for edge in edges]


def _edges(scores: list[float], lowest: float) -> list[float]:
    """Thresholds that let 0, 1, 2 … of the scores through, down to `lowest`."""
    ranked = [*sorted(scores, reverse=True), 0.0]
    edges = [round(min(max(score + 1e-4, lowest), HIGHEST_BLOCK), 4) for score in ranked]
    return edges[: next((at + 1 for at, edge in enumerate(edges) if edge <= lowest), len(edges))]
